"""Where the time of an exported ConvBERT goes, by operator, under oneDNN.

    python benchmarks/profile_operators.py --shapes 1x32 8x128

Paddle's own profiler, which adds some microseconds to every operator. Random weights.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.machine import describe, machine
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.files import write_json

# The unindented rows of Paddle's operator summary: name, calls, total ms; the parts are indented.
ROW = re.compile(r"^(\w+) +(\d+) +([\d.]+) / ")
WARM_RUNS = 3


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-base", help="size (%(default)s)")
    add("--shapes", nargs="+", default=["1x32", "8x32", "8x128"], metavar="BxL")
    add("--runs", type=int_at_least(1), default=10, help="runs of each shape (%(default)s)")
    add("--output", default=str(ROOT / "benchmarks/results/operators.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Profile every shape, print one table and write the result."""
    args = parse_args(argv)
    set_cpu_environment()
    from benchmarks.bench_memory import export_random
    from convbert.inference.engines.paddle_inference import Predictor

    with tempfile.TemporaryDirectory() as folder:
        export_random(args.model, folder)
        run = Predictor(folder).run
        shapes = {shape: profile(run, shape, args.runs) for shape in args.shapes}
    record = {**machine(), "model": args.model, "runs": args.runs}
    write_json(args.output, {**record, "shapes": shapes})
    print(describe(record), table(shapes), sep="\n\n")


def profile(run, shape: str, runs: int) -> list[dict[str, float]]:
    """Calls and milliseconds of one run by kind of operator, the longest first."""
    from paddle import profiler

    ids = np.random.RandomState(0).randint(1, 200, tuple(map(int, shape.split("x"))))
    for _ in range(WARM_RUNS):
        run(ids, np.zeros_like(ids))
    recorder = profiler.Profiler(
        targets=[profiler.ProfilerTarget.CPU],
        on_trace_ready=lambda _: None,  # its default writes a trace into the current folder
    )
    recorder.start()
    for _ in range(runs):
        run(ids, np.zeros_like(ids))
    recorder.stop()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        recorder.summary()
    found = [match.groups() for match in map(ROW.match, printed.getvalue().splitlines()) if match]
    return [
        {"operator": name, "calls": int(calls) // runs, "ms": round(float(total) / runs, 3)}
        for name, calls, total in found
        if int(calls) >= runs and not name.startswith("ProfileStep")
    ]


def table(shapes: dict[str, list[dict[str, float]]]) -> str:
    """Operators that take 1% or more at any shape: calls, and milliseconds at each."""
    totals = {shape: sum(row["ms"] for row in rows) for shape, rows in shapes.items()}
    by_name: dict[str, dict[str, dict[str, float]]] = {}
    for shape, rows in shapes.items():
        for row in rows:
            by_name.setdefault(row["operator"], {})[shape] = row
    lines = [f"| operator | calls | {' | '.join(shapes)} |", "|---" * (2 + len(shapes)) + "|"]
    for name, found in by_name.items():
        if any(row["ms"] >= totals[shape] / 100 for shape, row in found.items()):
            cells = [_cell(found.get(shape), totals[shape]) for shape in shapes]
            calls = max(row["calls"] for row in found.values())
            lines.append(f"| {name} | {calls} | {' | '.join(cells)} |")
    calls = max(sum(row["calls"] for row in rows) for rows in shapes.values())
    sums = " | ".join(f"{total:.1f} ms" for total in totals.values())
    return "\n".join([*lines, f"| all | {calls} | {sums} |"])


def _cell(row, total: float) -> str:
    return f"{row['ms']:.1f} ms, {row['ms'] / total:.0%}" if row else ""


if __name__ == "__main__":
    run_main(main)
