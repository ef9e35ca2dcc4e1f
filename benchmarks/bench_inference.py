"""Paddle Inference latency of ConvBERT against the nine-slice design, in one run, in turns.

    python benchmarks/bench_inference.py                    convbert-base
    python benchmarks/bench_inference.py --model convbert-small --rounds 9

The nine-slice design is that of the original port: nine padded slices stacked and multiplied, NLC
Conv1D, positions by cumsum. It runs without oneDNN, under which its cumsum gives wrong positions.
Both programs hold the same random weights, and their logits are compared before anything is timed.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.cli import default_threads, int_at_least, make_parser, run_main, set_cpu_environment
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

SHAPES = ((1, 32), (8, 32), (1, 128))
TOLERANCE = 1e-5


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-base", help="size (%(default)s)")
    add("--rounds", type=int_at_least(3), default=7, help="runs of each side (%(default)s)")
    default = Path(__file__).resolve().parent / "results" / "inference.json"
    add("--output", default=str(default), help="JSON file (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Export both designs, compare, time in turns, print and write the table."""
    args = parse_args(argv)
    set_cpu_environment()
    with tempfile.TemporaryDirectory() as folder:
        sides = open_sides(args.model, folder)
        rows = [measure(sides, shape, args.rounds) for shape in SHAPES]
    print("| batch x length | nine slices, ms | this design, oneDNN, ms | times as fast |")
    print("|---|---|---|---|")
    for row in rows:
        nine, ours = row["nine_slices_ms"], row["ours_ms"]
        print(f"| {row['shape']} | {nine:.1f} | {ours:.1f} | {row['ratio']:.2f} |")
    record = {"model": args.model, "rounds": args.rounds, "rows": rows}
    write_json(args.output, {**machine(), **record})


def open_sides(name: str, folder: str) -> Dict[str, object]:
    """Export one random model in both designs and open the two engines."""
    import paddle

    from convbert.export import save_program
    from convbert.predictor import EngineOptions, Predictor
    from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification

    paddle.seed(0)
    model = ConvBertForSequenceClassification(ConvBertConfig.preset(name))
    model.eval()
    save_program(model, f"{folder}/ours/inference")
    with nine_slice_design():
        save_program(model, f"{folder}/nine/inference")
    return {
        "nine_slices": Predictor(f"{folder}/nine", EngineOptions(use_mkldnn=False)),
        "ours": Predictor(f"{folder}/ours", EngineOptions(use_mkldnn=True)),
    }


def nine_slice_design():
    """Replace the three forms that differ, for as long as the context lasts."""
    from contextlib import ExitStack
    from unittest import mock

    import paddle
    import paddle.nn.functional as F

    from paddlenlp.transformers.convbert import layers, modeling

    def dynamic_conv(values, kernels):
        taps, length = kernels.shape[-1], paddle.shape(values)[2]
        half = taps // 2
        slices = [
            paddle.slice(
                F.pad(values, [0, 0, half, half], data_format="NCHW"), [2], [k], [k + length]
            )
            for k in range(taps)
        ]
        windows = paddle.stack(slices, axis=-1)  # [B, N, L, D, K]
        return paddle.matmul(windows, kernels.unsqueeze(-1)).squeeze(-1)

    def depthwise(self, x):
        width = self.weight.shape[0]
        return F.conv1d(x, self.weight, padding=self.half, groups=width, data_format="NLC")

    def arange(length, dtype):
        return paddle.cumsum(paddle.ones(length.unsqueeze(0), dtype=dtype)) - 1

    stack = ExitStack()
    stack.enter_context(mock.patch.object(layers, "span_dynamic_conv", dynamic_conv))
    stack.enter_context(mock.patch.object(layers.DepthwiseConv1D, "forward", depthwise))
    stack.enter_context(mock.patch.object(modeling.paddle, "arange", arange))
    return stack


def measure(sides: Dict[str, object], shape, rounds: int) -> dict:
    """Compare the logits at one shape, then time the sides in turns; medians in ms.

    Raises:
        UserError: the two designs disagree.
    """
    ids = np.random.RandomState(0).randint(1, 30000, shape).astype(np.int64)
    types = np.zeros_like(ids)
    logits = {name: engine.run(ids, types) for name, engine in sides.items()}
    difference = float(np.abs(logits["ours"] - logits["nine_slices"]).max())
    if not difference <= TOLERANCE:
        raise UserError(f"the designs differ by {difference:.1e} at {shape}: nothing to compare")
    seconds: Dict[str, List[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, engine in sides.items():
            start = time.perf_counter()
            engine.run(ids, types)
            seconds[name].append(time.perf_counter() - start)
    nine, ours = (statistics.median(seconds[name]) * 1000 for name in ("nine_slices", "ours"))
    return {
        "shape": f"{shape[0]} x {shape[1]}",
        "nine_slices_ms": round(nine, 2),
        "ours_ms": round(ours, 2),
        "ratio": round(nine / ours, 3),
        "logits_difference": difference,
    }


def machine() -> dict:
    """What the numbers depend on."""
    import paddle

    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        "machine": platform.machine(),
        "threads": default_threads(),
    }


if __name__ == "__main__":
    run_main(main)
