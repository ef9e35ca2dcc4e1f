"""One CPU training step (forward, backward, AdamW) compared with transformers on PyTorch.

    bash benchmarks/run.sh training
    bash benchmarks/run.sh training --models tiny --rounds 1   a trial run

All sides start from the same weights, get the same full-length batches and use dropout 0.1. First
their logits without dropout must agree within 1e-5. Then the sides take turns. Every shape has new
processes; at (32, 128) each needs up to 7 GB with convbert-base.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.ours import MODELS
from benchmarks.sides import Side, all_versions, command, logit_differences
from benchmarks.tables import RESULTS, shape_name, table, write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, run_step
from paddlenlp.transformers.convbert.configuration import ConvBertConfig

# model -> the shapes (batch, length) to time
SHAPES = {
    "convbert-base": ((32, 32), (32, 128)),
    "two layers, hidden 128": ((64, 10), (64, 20), (64, 30)),
    "tiny": ((4, 10),),
}
# side -> its name in the table, its script and action
SIDES = {
    "paddle": ("ours", "ours.py", "train"),
    # without the operators of cpu_ops.py
    "paddle_operators": ("with Paddle's own operators", "ours.py", "train_plain"),
    "torch": ("torch eager", "peers.py", "train_torch"),
    "torch_compile": ("torch.compile", "peers.py", "train_torch_compile"),
}
OTHERS = list(SIDES)[1:]
WARM_STEPS = 2


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--models", nargs="+", choices=SHAPES, default=list(SHAPES)[:2])
    add("--compare_with", nargs="+", choices=OTHERS, default=OTHERS, help="the other sides")
    add("--rounds", type=int_at_least(1), default=7, help="timed steps of each side (%(default)s)")
    add("--output", default=str(RESULTS / "training.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Measure the chosen models; write the result after each shape."""
    args = parse_args(argv)
    rows, versions = [], {}
    for model in args.models:
        for shape in SHAPES[model]:
            with ExitStack() as stack:
                sides = open_sides(stack, model, ["paddle", *args.compare_with])
                found = measure(sides, shape, args.rounds, ConvBertConfig(**MODELS[model]))
            rows.append({"model": model, "shape": shape, **found})
            versions.update(all_versions(sides))
            record = {**provenance(**versions), "rounds": args.rounds, "rows": rows}
            write_result(args.output, record, page(rows))


def open_sides(stack: ExitStack, model: str, names: list[str]) -> dict[str, Side]:
    """Start sides with the same random weights, until the stack ends."""
    work = stack.enter_context(tempfile.TemporaryDirectory())
    run_step(command("ours.py", "prepare", work, model), stdout=sys.stderr)
    commands = {name: command(*SIDES[name][1:], work) for name in names}
    return {name: stack.enter_context(Side(each)) for name, each in commands.items()}


def measure(
    sides: dict[str, Side], shape: tuple[int, int], rounds: int, config: ConvBertConfig
) -> dict[str, Any]:
    """Compare the logits, then time the sides in turns step by step, without the first steps.

    Raises:
        UserError: the logits of the sides differ.
    """
    random = np.random.RandomState(0)
    # No padding, because it would affect the convolutions of the peers.
    ids = random.randint(5, config.vocab_size, shape).tolist()
    batch = {"ids": ids, "labels": random.randint(0, 2, shape[0]).tolist()}
    logits = {name: side.ask(train=False, **batch)["logits"] for name, side in sides.items()}
    differences = logit_differences(logits, "paddle", list(sides))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(WARM_STEPS + rounds):
        for name, side in sides.items():
            times[name].append(side.ask(train=True, **batch)["ms"])
    medians = {name: statistics.median(found[WARM_STEPS:]) for name, found in times.items()}
    return {
        "difference": max(differences.values()),
        "ms": {name: round(median, 1) for name, median in medians.items()},
    }


def page(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown; a ratio below 1 means that our step is faster."""
    lines = []
    for row in rows:
        ms = row["ms"]
        times = [f"{ms[name]:.1f}" if name in ms else "" for name in SIDES]
        ratios = [f"{ms['paddle'] / ms[name]:.2f}" if name in ms else "" for name in OTHERS[1:]]
        difference = f"{row['difference']:.0e}"
        lines.append([row["model"], shape_name(row["shape"]), *times, *ratios, difference])
    names = [f"{label}, ms" for label, *_ in SIDES.values()]
    header = ["model", "batch x length", *names, "ours / eager", "ours / compile"]
    return table([*header, "logits differ by"], lines)


if __name__ == "__main__":
    run_main(main)
