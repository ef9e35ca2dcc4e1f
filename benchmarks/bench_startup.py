"""From the start of infer.py to its first answer, and where the time goes.

    python benchmarks/bench_startup.py [--model convbert-small]

Random weights of a published size with the embedded vocabulary. The command itself is timed as a
whole process; the stages are those of a second process that takes the same steps one by one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.files import write_json

BOUND_SECONDS = 3.0
STAGES = """
import json, sys, time
clock = [("interpreter", float(sys.argv[3]))]
done = lambda name: clock.append((name, time.time()))
done("Python")
sys.path.insert(0, sys.argv[2])
from convbert.command.machine import set_cpu_environment
set_cpu_environment()
done("import Paddle")
from convbert.inference.classify import classify
from convbert.inference.engines.paddle_inference import Predictor
from convbert.text.processing import TextProcessor
from convbert.text.reading import Row
done("other imports")
predictor = Predictor(sys.argv[1])
done("program: open, optimise, run once")
processor = TextProcessor.from_dir(sys.argv[1])
done("tokenizer")
list(classify([Row("a warm , funny , engaging film .")], processor, predictor.run))
done("first answer")
print(json.dumps({b[0]: b[1] - a[1] for a, b in zip(clock, clock[1:])}))
"""


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size (%(default)s)")
    add("--rounds", type=int_at_least(1), default=7, help="starts of each kind (%(default)s)")
    add("--output", default=str(ROOT / "benchmarks/results/startup.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Start both kinds in turns, print the medians; 1 if the command is above the bound."""
    args = parse_args(argv)
    set_cpu_environment()
    from benchmarks.bench_memory import export_random

    with tempfile.TemporaryDirectory() as folder:
        export_random(args.model, folder)
        starts = [(whole_command(folder), stages(folder)) for _ in range(args.rounds + 1)][1:]
    seconds = [whole for whole, _ in starts]
    parts = {name: statistics.median(part[name] for _, part in starts) for name in starts[0][1]}
    print("| stage | seconds |\n|---|---|")
    for name, value in parts.items():
        print(f"| {name} | {value:.2f} |")
    print(f"| infer.py, the whole process | {statistics.median(seconds):.2f} |")
    record = {**machine(), "model": args.model, "bound_seconds": BOUND_SECONDS}
    write_json(args.output, {**record, "stages": parts, "whole_process": seconds})
    return int(statistics.median(seconds) > BOUND_SECONDS)


def whole_command(folder: str) -> float:
    """Seconds of `infer.py` on the default sentence."""
    infer = ROOT / "deploy" / "inference_python" / "infer.py"
    command = [sys.executable, str(infer), "--model_dir", folder]
    start = time.perf_counter()
    run([*command, "--output_npy", f"{folder}/answer.npy"])
    return time.perf_counter() - start


def stages(folder: str) -> dict[str, float]:
    """Seconds of each stage of one start."""
    command = [sys.executable, "-c", STAGES, folder, str(ROOT), str(time.time())]
    return json.loads(run(command).splitlines()[-1])


def run(command: list[str]) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    run_main(main)
