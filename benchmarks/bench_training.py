"""One CPU training step (forward, backward, AdamW) against transformers on PyTorch, in turns.

    python benchmarks/bench_training.py --reference_python .venv-reference/bin/python

Both sides start from the same weights, get the same full-length batches and use dropout 0.1. First
their logits, dropout off, must agree within 1e-5. Medians and all times go to one JSON file.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.machine import machine
from benchmarks.sides import Side
from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

HERE = Path(__file__).resolve().parent
SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "embedding_size": 128,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
TINY = {**SMALL, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 500}  # tries the command
# name -> what differs from convbert-base, and the shapes (batch, length) to time
MODELS = {
    "convbert-base": ({}, ((32, 32), (32, 128))),
    "two layers, hidden 128": (SMALL, ((64, 10), (64, 20), (64, 30))),
    "tiny": (TINY, ((4, 10),)),
}
SHARED = (*SMALL, "vocab_size", "num_classes")  # settings that both sides spell alike
TOLERANCE = 1e-5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen models and write the result."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--reference_python", required=True, help="Python of the environment with torch")
    add("--models", nargs="+", choices=MODELS, default=list(MODELS)[:2])
    add("--rounds", type=int_at_least(1), default=7, help="timed steps of each side (%(default)s)")
    add("--output", default="benchmarks/results/training.json", metavar="FILE")
    args = parser.parse_args(argv)
    rows = []
    for name in args.models:
        rows += measure(name, args.reference_python, args.rounds)
    write_json(args.output, {**machine(), "rows": rows})
    print(table(rows), f"-> {args.output}", sep="\n")
    return 0


def measure(name: str, reference_python: str, rounds: int) -> list[dict[str, Any]]:
    """Time one model at its shapes, the two sides step by step in turns.

    Raises:
        UserError: the sides' answers differ.
    """
    overrides, shapes = MODELS[name]
    config = ConvBertConfig.preset("convbert-base", **overrides)
    settings = json.dumps({key: getattr(config, key) for key in SHARED})
    with tempfile.TemporaryDirectory() as work:
        weights = os.path.join(work, "weights.npz")
        ours = [sys.executable, HERE / "train_step_paddle.py", settings, weights]
        peer = [reference_python, HERE / "train_step_torch.py", settings, weights]
        batches = [_batch(shape, config.vocab_size) for shape in shapes]
        with Side(ours) as paddle_side:
            expected = [paddle_side.ask(train=False, **batch) for batch in batches]
            with Side(peer) as torch_side:  # opened now that the weights are written
                sides = {"paddle": paddle_side, "torch": torch_side}
                found = [torch_side.ask(train=False, **batch) for batch in batches]
                versions = {**paddle_side.versions, **torch_side.versions}
                differences = [_difference(*pair) for pair in zip(expected, found)]
                return [
                    {
                        "model": name,
                        "shape": shape,
                        "difference": difference,
                        "versions": versions,
                        **_time_steps(sides, batch, rounds),
                    }
                    for shape, batch, difference in zip(shapes, batches, differences)
                ]


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> float:
    difference = float(np.abs(np.subtract(expected["logits"], found["logits"])).max())
    if not difference <= TOLERANCE:  # also catches nan
        raise UserError(
            "outputs-differ",
            f"the logits of the two sides differ by {difference:.1e}: nothing was timed",
        )
    return difference


def _time_steps(sides: dict[str, Side], batch: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Median and all times in ms, after two steps that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name, side in sides.items():
            milliseconds = side.ask(train=True, **batch)["ms"]
            if number >= 2:
                times[name].append(round(milliseconds, 2))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = round(medians["paddle"] / medians["torch"], 3)
    return {"median_ms": medians, "paddle_over_torch": ratio, "all_ms": times}


def _batch(shape, vocab_size: int) -> dict[str, Any]:
    random = np.random.RandomState(0)
    ids = random.randint(5, vocab_size, shape)  # no padding: the peer lets it leak
    return {"ids": ids.tolist(), "labels": random.randint(0, 2, shape[0]).tolist()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | (batch, length) | Paddle ms | torch ms | ratio | logits differ by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, peer = row["median_ms"]["paddle"], row["median_ms"]["torch"]
        lines.append(
            f"| {row['model']} | {tuple(row['shape'])} | {ours:.1f} | {peer:.1f} "
            f"| {row['paddle_over_torch']:.2f} | {row['difference']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
