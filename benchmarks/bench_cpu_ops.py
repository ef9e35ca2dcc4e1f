"""The hand-written CPU operators of training against Paddle's own, forward and backward, in turns.

    python benchmarks/bench_cpu_ops.py

The reason for paddlenlp/transformers/convbert/cpu_ops.py. Shapes of convbert-base, (32, 32) tokens.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import keep_freed_memory, set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.utils.files import write_json

SHAPE = (32, 32, 768)
TAPS = 9


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int_at_least(3), default=9, help="runs of each side (%(default)s)")
    default = Path(__file__).resolve().parent / "results" / "cpu_ops.json"
    add("--output", default=str(default), help="JSON file (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Time every operator on both sides, print and write the table."""
    args = parse_args(argv)
    keep_freed_memory()
    set_cpu_environment()
    rows = [measure(name, step, args.rounds) for name, step in operators().items()]
    print("| operator | Paddle's own, ms | by hand, ms | times as fast |")
    print("|---|---|---|---|")
    for row in rows:
        own, hand = row["paddle_ms"], row["by_hand_ms"]
        print(f"| {row['operator']} | {own:.1f} | {hand:.1f} | {row['ratio']:.1f} |")
    record = {"date": time.strftime("%Y-%m-%d"), "shape": SHAPE, "rounds": args.rounds}
    write_json(args.output, {**record, "rows": rows})


def operators() -> dict[str, Callable[[], None]]:
    """One step, forward and backward, of each operator that has a form by hand."""
    import paddle

    from paddlenlp.transformers.convbert import cpu_ops

    paddle.seed(0)
    width = SHAPE[-1]
    x, filters = leaf(SHAPE), leaf((width, 1, TAPS))
    weight, bias = leaf((width,)), leaf((width,))
    forms = {
        "bias": lambda: cpu_ops.add_bias(x, bias),
        "layer normalisation": lambda: cpu_ops.layer_norm(x, weight, bias, 1e-12),
        "dropout": lambda: cpu_ops.dropout(x, 0.1, True),
        "depthwise convolution": lambda: cpu_ops.depthwise_conv(x, filters),
    }
    grad = paddle.randn(SHAPE)

    def step(forward) -> None:
        forward().backward(grad)
        for tensor in (x, filters, weight, bias):
            tensor.clear_gradient()

    return {name: lambda forward=forward: step(forward) for name, forward in forms.items()}


def leaf(shape):
    """A random tensor that takes a gradient."""
    import paddle

    tensor = paddle.randn(shape)
    tensor.stop_gradient = False
    return tensor


def measure(name: str, step: Callable[[], None], rounds: int) -> dict:
    """Time one operator on both sides in turns; medians in ms."""
    from paddlenlp.transformers.convbert import cpu_ops

    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds + 1):  # the first round warms up
        for by_hand, times in seconds.items():
            with mock.patch.object(cpu_ops, "_by_hand", lambda _, by_hand=by_hand: by_hand):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
    own, hand = (statistics.median(seconds[side][1:]) * 1000 for side in (False, True))
    return {
        "operator": name,
        "paddle_ms": round(own, 2),
        "by_hand_ms": round(hand, 2),
        "ratio": round(own / hand, 2),
    }


if __name__ == "__main__":
    run_main(main)
