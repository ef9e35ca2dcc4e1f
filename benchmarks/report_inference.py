"""The result of bench_inference.py as a Markdown table, its bounds judged, and a plot.

python benchmarks/report_inference.py benchmarks/results/inference.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import describe
from paddlenlp.utils.files import atomic_write

GEMMS = "gemms"
Shape = tuple[int, int]
# peer -> shape -> our time must be at most the peer's divided by this
FASTER: dict[str, dict[Shape, float]] = {
    "torch": {
        (1, 32): 2.0, (1, 128): 1.5, (1, 512): 1.3, (8, 32): 1.3, (8, 128): 1.3, (32, 32): 1.3,
    },
    "onnxruntime": {
        (1, 32): 1.2, (1, 128): 1.2, (1, 512): 1.2, (8, 32): 1.8, (8, 128): 1.8, (32, 32): 1.8,
    },
    "nine_slices": {(1, 32): 2.4, (8, 32): 5.0, (8, 128): 5.0},
    "nine_slices_as_ported": {(1, 32): 2.4, (8, 32): 5.0, (8, 128): 5.0},
    "paddlenlp": {(1, 32): 2.4, (8, 32): 5.0, (8, 128): 5.0},
}  # fmt: skip
# shape -> our time must be at most this many times that of the matrix products alone
OF_GEMMS: dict[Shape, float] = {(1, 32): 2.0, (8, 32): 1.1, (8, 128): 1.1, (32, 32): 1.1}
LABELS = {
    "ours": "this repository",
    "torch": "transformers, torch eager",
    "onnxruntime": "transformers, ONNX Runtime",
    "nine_slices": "nine-slice design",
    "nine_slices_as_ported": "nine-slice design as ported",
    "paddlenlp": "PaddleNLP 2.8.1",
    GEMMS: "matrix products alone",
}
STYLES = {
    "ours": ("tab:red", "o-"),
    "torch": ("tab:blue", "o-"),
    "onnxruntime": ("tab:orange", "o-"),
    "nine_slices": ("tab:green", "o-"),
    "nine_slices_as_ported": ("tab:brown", "o-"),
    "paddlenlp": ("tab:purple", "o-"),
    GEMMS: ("black", "--"),
}
# Axis of the batch or length, what stays fixed, what is drawn.
PANELS = (
    ("length", ("batch", 1), "latency"),
    ("batch", ("length", 32), "latency"),
    ("batch", ("length", 128), "latency"),
    ("batch", ("length", 32), "throughput"),
)


def write_report(path: str) -> str:
    """Write the table and the plot beside a JSON result; returns the table."""
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    rows = result["rows"]
    text = "\n".join([describe(result), "", *times(rows), "", *failures(rows), *bounds(rows)])
    with atomic_write(Path(path).with_suffix(".md")) as file:
        file.write(f"{result['model']}, fp32, median ms of {result['rounds']} rounds; {text}\n")
    plot(result, str(Path(path).with_suffix(".png")))
    return text


def times(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of medians."""
    yield f"| (batch, length) | {' | '.join(LABELS.values())} | largest difference |"
    yield "|---|" + "---|" * (len(LABELS) + 1)
    for row in rows:
        cells = [_ms(row["ms"].get(name)) for name in LABELS]
        used = [value for name, value in row["difference"].items() if name not in row["wrong"]]
        yield f"| {tuple(row['shape'])} | {' | '.join(cells)} | {max(used):.0e} |"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def failures(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one line for each side that was not timed, with its shapes, and an empty one."""
    shapes: dict[str, list[str]] = {}
    for row in rows:
        for name, reason in row["wrong"].items():
            shapes.setdefault(f"{name}, {reason}", []).append(str(tuple(row["shape"])))
    for failure, where in shapes.items():
        yield f"- not timed: {failure}, at {', '.join(where)}"
    yield ""


def bounds(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of bounds, each reached or not.

    A bound that asks for less than 1.00 times the matrix products alone asks for more than the
    libraries measured beside it give on this machine.
    """
    yield "| against | (batch, length) | bound | measured | | asks for, of the products alone |"
    yield "|---|---|---|---|---|---|"
    by_shape = {tuple(row["shape"]): row["ms"] for row in rows}
    for peer, wanted in FASTER.items():
        for shape, factor in wanted.items():
            ms = by_shape.get(shape, {})
            if peer in ms and "ours" in ms:
                ratio = ms[peer] / ms["ours"]
                asked = ms[peer] / factor / ms[GEMMS] if GEMMS in ms else None
                yield _bound(peer, shape, f">= {factor}x as fast", ratio, ratio >= factor, asked)
    for shape, factor in OF_GEMMS.items():
        ms = by_shape.get(shape, {})
        if GEMMS in ms and "ours" in ms:
            ratio = ms["ours"] / ms[GEMMS]
            yield _bound(GEMMS, shape, f"<= {factor}x its time", ratio, ratio <= factor, factor)


def _bound(
    peer: str, shape: Shape, bound: str, ratio: float, reached: bool, asked: float | None
) -> str:
    verdict = "reached" if reached else "**not reached**"
    share = "" if asked is None else f"{asked:.2f}"
    return f"| {LABELS[peer]} | {shape} | {bound} | {ratio:.2f} | {verdict} | {share} |"


def plot(result: dict[str, Any], path: str) -> None:
    """Draw all sides: latency against length and batch, throughput against batch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(12, 9))
    for panel, settings in zip(axes.flat, PANELS):
        draw(panel, result["rows"], *settings)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False)
    figure.suptitle(f"{result['model']}, fp32, {describe(result)}", fontsize=10)
    figure.tight_layout(rect=(0, 0.07, 1, 0.97))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw(panel, rows: list[dict[str, Any]], axis: str, fixed, quantity: str) -> None:
    """One panel: a line for each side."""
    rows = [row for row in rows if _size(row, fixed[0]) == fixed[1]]
    rows.sort(key=lambda row: _size(row, axis))
    ticks = [_size(row, axis) for row in rows]
    for name, label in LABELS.items():
        points = [(_size(row, axis), row) for row in rows if name in row["ms"]]
        color, style = STYLES[name]
        values = [_value(row, name, quantity) for _, row in points]
        panel.plot([size for size, _ in points], values, style, color=color, label=label)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("{x:g}")
    panel.tick_params(axis="y", which="both", labelsize=7)
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xlabel("length, tokens" if axis == "length" else "batch, sentences")
    panel.set_ylabel("latency, ms" if quantity == "latency" else "sentences per second")
    panel.set_title(f"{quantity} against {axis}, {fixed[0]} {fixed[1]}", fontsize=11)
    panel.grid(True, which="both", alpha=0.3)


def _size(row: dict[str, Any], axis: str) -> int:
    return row["shape"][0 if axis == "batch" else 1]


def _value(row: dict[str, Any], name: str, quantity: str) -> float:
    milliseconds = row["ms"][name]
    return milliseconds if quantity == "latency" else row["shape"][0] * 1000 / milliseconds


if __name__ == "__main__":
    print(write_report(sys.argv[1]))
