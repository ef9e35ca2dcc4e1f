"""The chain of benchmark_train.sh: one training per case, and its speed in TIPC's format."""

from __future__ import annotations

import itertools
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from paddlenlp.utils.checkout import git
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc import judge
from tipc.config import Config
from tipc.environment import ask
from tipc.plan import Plan, Step
from tipc.train_infer import device_of, launcher, processes

CARDS_OF_TAG = {"N1C1": 1, "N1C2": 2, "N1C4": 4, "N1C8": 8}  # N1C2: one node, two cards
AMP_FLAGS = {
    "fp32": [],
    "fp16": ["--use_amp=True", "--amp_dtype=float16"],
    "bf16": ["--use_amp=True", "--amp_dtype=bfloat16"],
}
PADDLE_VERSION = "import paddle; print('answer:' + paddle.__version__)"
LENGTH_FLAGS = {"max_steps": "--max_steps", "epoch": "--num_train_epochs"}


class BenchmarkPlan(Plan):
    """The steps of the benchmark.

    Args:
        config: a configuration with a benchmark block.
        run_dir: folder of this run.
        case: TIPC's name of one combination, such as ``dynamic_bs8_fp32_DP_N1C1``; empty: all.
    """

    def __init__(self, config: Config, run_dir: Path, case: str = ""):
        super().__init__(config, run_dir)
        self.case = case
        self.paddle = ask(config, PADDLE_VERSION)

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        config = self.config
        if self.case:
            self._benchmark(*self._parse_case())
        else:
            for pair in itertools.product(config.values("batch_size"), config.values("fp_items")):
                self._benchmark(*pair, "N1C1")
        return self.steps

    def _parse_case(self) -> tuple[str, str, str]:
        """Batch size, number format and device tag of the requested case."""
        found = re.fullmatch(r"[^_]+_bs(\d+)_(fp32|null|fp16|bf16)_DP_(N1C\d)", self.case)
        if found and found[3] in CARDS_OF_TAG:
            return found[1], found[2].replace("null", "fp32"), found[3]
        tags = ", ".join(CARDS_OF_TAG)
        how = f"give a case such as dynamic_bs8_fp32_DP_N1C1, with one of {tags} at its end"
        raise UserError("command-line", f"unknown case '{self.case}': {how}")

    def _benchmark(self, batch: str, precision: str, tag: str) -> None:
        config, cards = self.config, CARDS_OF_TAG[tag]
        on_cpu = config.values("gpu_list")[0].startswith("-1")
        if precision != "fp32" and on_cpu:
            raise config.fail("fp_items", f"{precision} needs a GPU, but gpu_list names the CPU")
        gpus = ",".join(["-1"] * cards if on_cpu else map(str, range(cards)))
        run_type = "SingleP" if cards == 1 else "MultiP"
        name = f"{config.value('model_name')}_bs{batch}_{precision}_{run_type}_DP_{tag}"
        output, length = self.run_dir / name, config.entries["bench_length"]
        variables = config.value("flags")
        launch = launcher(self.python, gpus, self.run_dir / f"{name}_launch")
        command = self.command(
            "norm_train",
            *("pretrained", "train_extra"),
            start=[*(["env", *variables.split(";")] if variables else []), *launch],
            train_device=device_of(gpus),
            save_model=output,
            train_batch=batch,
        )
        command += [f"{LENGTH_FLAGS[length.key]}={length.value}", *AMP_FLAGS[precision]]
        speed = self.run_dir / "index" / f"{name}_speed"
        facts = {"batch_size": int(batch), "fp_item": precision, "frame_version": self.paddle}
        check = partial(judge_speed, output, gpus, speed, facts)
        log = self.run_dir / "train_log" / f"{name}_log"
        self.add("train", command, log, output / "metrics.json", check=check)


def judge_speed(output: Path, gpus: str, speed: Path, facts: dict[str, Any]) -> list[str]:
    """Check a training and write its speed: one line of JSON with the fields of TIPC.

    Args:
        output: output_dir of train.py.
        gpus: the cards or processes that it ran on.
        speed: file to write, named MODEL_bs8_fp32_SingleP_DP_N1C1_speed.
        facts: further fields of the report.
    """
    if wrong := judge.training(output / "metrics.json", device_of(gpus), processes(gpus)):
        return wrong
    metrics = judge.read_json(output / "metrics.json")
    records = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    train = [record for record in records if record["kind"] == "train"]
    model_name, device_num, _ = speed.name.rsplit("_", 2)
    *_, run_type, run_mode = model_name.split("_")
    report = {
        "model_branch": git("rev-parse", "--abbrev-ref", "HEAD") or "unknown",
        "model_commit": git("rev-parse", "HEAD") or "unknown",
        "model_name": model_name,
        **facts,
        "run_process_type": run_type,
        "run_mode": run_mode,
        "convergence_value": train[-1]["loss"] if train else None,
        "convergence_key": "loss:",
        "ips": round(steady_ips(train), 3),
        "speed_unit": "samples/s",
        "device_num": device_num,
        "device": metrics.get("device"),
        "model_run_time": round(metrics["training_seconds"], 3),
    }
    with atomic_write(speed) as file:
        file.write(json.dumps(report) + "\n")
    return []


def steady_ips(train: list[dict[str, Any]]) -> float:
    """Examples per second after the first printed line, over all processes.

    Raises:
        UserError: there are fewer than two lines.
    """
    if len(train) < 2:
        message = "fewer than two printed lines: lower --logging_steps or train longer"
        raise UserError("tipc", message)
    seconds = [row["seconds"] - before["seconds"] for before, row in zip(train, train[1:])]
    examples = [row["examples_per_second"] * spent for row, spent in zip(train[1:], seconds)]
    return sum(examples) / sum(seconds)
