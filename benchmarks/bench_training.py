"""One CPU training step (forward, backward, AdamW) compared with transformers on PyTorch.

    bash benchmarks/run.sh training
    bash benchmarks/run.sh training --models tiny --rounds 1   a trial run

All sides start from the same weights, get the same full-length batches and use dropout 0.1. First
their logits without dropout must agree within 1e-5. Then the sides take turns. Every shape has new
processes; at (32, 128) each needs up to 7 GB with convbert-base.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.result_file import shape_name, write_result
from benchmarks.sides import Side
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "embedding_size": 128,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
TINY = {**SMALL, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 500}  # for trial runs
# name -> differences from convbert-base, and the shapes (batch, length) to time
MODELS = {
    "convbert-base": ({}, ((32, 32), (32, 128))),
    "two layers, hidden 128": (SMALL, ((64, 10), (64, 20), (64, 30))),
    "tiny": (TINY, ((4, 10),)),
}
SHARED = (*SMALL, "vocab_size", "num_classes")  # settings that all sides need
PLAIN = "paddle_operators"  # our step with Paddle's own operators, see cpu_ops.py
PEERS = {"torch": "eager", "torch_compile": "compiled"}  # side -> mode of train_peers.py
TOLERANCE = 1e-5
WARM_STEPS = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the chosen models and write the result."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--models", nargs="+", choices=MODELS, default=list(MODELS)[:2])
    others = [PLAIN, *PEERS]
    add("--compare_with", nargs="+", choices=others, default=others, help="the other sides")
    add("--rounds", type=int_at_least(1), default=7, help="timed steps of each side (%(default)s)")
    add("--output", default=str(HERE / "results" / "training.json"), help="JSON file")
    args = parser.parse_args(argv)
    rows, versions = [], {}
    for name in args.models:
        overrides, shapes = MODELS[name]
        config = ConvBertConfig.preset("convbert-base", **overrides)
        for shape in shapes:
            rows.append({"model": name, "shape": shape, **measure(config, shape, args, versions)})
            record = {**provenance(**versions), "rounds": args.rounds}
            write_result(args.output, {**record, "rows": rows}, table(rows))


def measure(
    config: ConvBertConfig, shape: tuple[int, int], args: Namespace, versions: dict[str, str]
) -> dict[str, Any]:
    """Time one model at one shape, the sides in turns step by step; add to ``versions``.

    Raises:
        UserError: the logits of the sides differ.
    """
    settings = json.dumps({key: getattr(config, key) for key in SHARED})
    with ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory())
        ours = [sys.executable, HERE / "train_ours.py", work, settings]  # writes the weights
        sides = {"paddle": stack.enter_context(Side(ours))}
        for name in args.compare_with:
            if name == PLAIN:
                side = Side(ours, PPNLP_CPU_OPS="0")
            else:
                python = ROOT / ".venv-peers" / "bin" / "python"
                side = Side([python, HERE / "train_peers.py", PEERS[name], work, settings])
            sides[name] = stack.enter_context(side)
        for side in sides.values():
            versions.update(side.versions)
        batch = make_batch(shape, config.vocab_size)
        return {"difference": compare(sides, batch), "ms": time_steps(sides, batch, args.rounds)}


def make_batch(shape: tuple[int, int], vocab_size: int) -> dict[str, Any]:
    """Return random ids and labels; no padding, because it would affect the peer's convolutions."""
    random = np.random.RandomState(0)
    ids = random.randint(5, vocab_size, shape)
    return {"ids": ids.tolist(), "labels": random.randint(0, 2, shape[0]).tolist()}


def compare(sides: dict[str, Side], batch: dict[str, Any]) -> float:
    """Return the largest difference of the logits between the sides."""
    logits = np.array([side.ask(train=False, **batch)["logits"] for side in sides.values()])
    difference = float(np.abs(logits - logits[0]).max())
    if not difference <= TOLERANCE:  # also catches nan
        raise UserError(
            "outputs-differ",
            f"the logits of the sides differ by {difference:.1e}: nothing was timed",
        )
    return difference


def time_steps(sides: dict[str, Side], batch: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return the median of each side in ms, without the first steps."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(WARM_STEPS + rounds):
        for name, side in sides.items():
            times[name].append(side.ask(train=True, **batch)["ms"])
    return {
        name: round(statistics.median(values[WARM_STEPS:]), 1) for name, values in times.items()
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown; a ratio below 1 means that our step is faster."""
    lines = [
        "| model | batch x length | ours, ms | with Paddle's own operators, ms | torch eager, ms "
        "| torch.compile, ms | ours / eager | ours / compile | logits differ by |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        ms = row["ms"]
        times = [f"{ms[name]:.1f}" if name in ms else "" for name in ("paddle", PLAIN, *PEERS)]
        ratios = [f"{ms['paddle'] / ms[name]:.2f}" if name in ms else "" for name in PEERS]
        cells = [row["model"], shape_name(row["shape"]), *times, *ratios]
        lines.append(f"| {' | '.join(cells)} | {row['difference']:.0e} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
