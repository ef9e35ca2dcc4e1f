"""Seconds of a whole run of infer.py for one answer.

    bash benchmarks/run.sh startup

The model has a published size and random weights. The first start of each engine is not counted,
because it fills the cache of compiled models.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.models import export_random, random_classifier
from benchmarks.result_file import write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, start_paddle
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig

BOUNDS = {"paddle": 3.0, "openvino": 1.2}  # seconds, for convbert-small


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size (%(default)s)")
    add("--engines", nargs="+", choices=tuple(BOUNDS), default=list(BOUNDS), help="(all)")
    add("--rounds", type=int_at_least(1), default=7, help="timed starts (%(default)s)")
    add("--output", default=str(ROOT / "benchmarks/results/startup.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Start the engines in turns, write the medians; return 1 if one is above its limit."""
    args = parse_args(argv)
    start_paddle()
    import paddle

    with tempfile.TemporaryDirectory() as folder:
        work, config = Path(folder), ConvBertConfig.preset(args.model)
        export_random(random_classifier(config, work / "weights.npz"), work / "model")
        rounds = [
            {engine: start(engine, folder) for engine in args.engines}
            for _ in range(args.rounds + 1)
        ][1:]
    rows = {engine: [found[engine] for found in rounds] for engine in args.engines}
    record = {**provenance(paddle=paddle.__version__), "model": args.model, "seconds": rows}
    write_result(args.output, record, table(record))
    if args.model != "convbert-small":
        return 0
    return int(any(statistics.median(rows[engine]) > BOUNDS[engine] for engine in rows))


def table(record: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"{record['model']}\n",
        "| engine | median, s | limit for convbert-small |",
        "|---|---|---|",
    ]
    for engine, seconds in record["seconds"].items():
        lines.append(f"| {engine} | {statistics.median(seconds):.2f} | {BOUNDS[engine]} |")
    return "\n".join(lines)


def start(engine: str, folder: str) -> float:
    """Return the seconds of one run of infer.py on its default sentence."""
    script = str(ROOT / "deploy" / "inference_python" / "infer.py")
    command = [sys.executable, script, "--model_dir", f"{folder}/model", "--engine", engine]
    command += ["--output_npy", f"{folder}/answer.npy"]
    environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}  # of compiled models
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    run_main(main)
