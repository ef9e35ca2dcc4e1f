"""The speed of a training as TIPC's benchmark reports it: one JSON object with ``ips``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from convbert.command.flags import make_parser
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc.slots import ROOT
from tipc.verdict import read_json


def main(argv: list[str]) -> int:
    """Read what train.py wrote, print the report, and write it to the speed file."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output_dir", required=True, help="output_dir of train.py")
    add("--name", required=True, help="MODEL_bs8_fp32_SingleP_DP_N1C1")
    add("--batch_size", type=int, required=True)
    add("--precision", required=True)
    add("--speed_file", required=True)
    args = parser.parse_args(argv)
    report = speed_report(Path(args.output_dir), args.name, args.batch_size, args.precision)
    line = json.dumps(report)
    with atomic_write(args.speed_file) as file:
        file.write(line + "\n")
    print(line)
    print(f"ips: {report['ips']} samples/s")
    return 0


def speed_report(output: Path, name: str, batch_size: int, precision: str) -> dict[str, Any]:
    """Collect the fields of a report.

    Raises:
        UserError: the training printed no line after its first.
    """
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    metrics = read_json(str(output / "metrics.json"))
    model_name, device_num = name.rsplit("_", 1)
    *_, run_type, run_mode = model_name.split("_")
    return {
        "model_branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "model_commit": _git("rev-parse", "HEAD"),
        "model_name": model_name,
        "batch_size": batch_size,
        "fp_item": precision,
        "run_process_type": run_type,
        "run_mode": run_mode,
        "convergence_value": train[-1]["loss"] if train else None,
        "convergence_key": "loss:",
        "ips": round(steady_ips(train), 3),
        "speed_unit": "samples/s",
        "device_num": device_num,
        "device": metrics.get("device"),
        "model_run_time": round(metrics["training_seconds"], 3),
        "frame_version": _paddle_version(),
    }


def steady_ips(train: list[dict[str, Any]]) -> float:
    """Examples per second after the first printed line, over all processes.

    Raises:
        UserError: there are fewer than two lines.
    """
    if len(train) < 2:
        raise UserError(
            "tipc", "fewer than two printed lines: lower --logging_steps or train longer"
        )
    seconds = [row["seconds"] - before["seconds"] for before, row in zip(train, train[1:])]
    examples = [row["examples_per_second"] * spent for row, spent in zip(train[1:], seconds)]
    return sum(examples) / sum(seconds)


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=str(ROOT), stdout=subprocess.PIPE, text=True)
    return run.stdout.strip() or "unknown"


def _paddle_version() -> str:
    from importlib.util import find_spec

    if find_spec("paddle") is None:
        return "unknown"
    import paddle

    return paddle.__version__
