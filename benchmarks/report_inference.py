"""Tables and plot of a result of bench_inference.py; the speed table of both READMEs.

    python benchmarks/report_inference.py benchmarks/results/inference-convbert-base.json

writes the Markdown page and the plot beside the result. The table of convbert-base is also written
to README.md and README_cn.md, between two markers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.result_file import shape_name, write_result
from convbert.command.provenance import describe
from paddlenlp.utils.files import atomic_write

Shape = tuple[int, int]
PRODUCTS = "products"
# side -> its name in tables, colour and style in the plot
LABELS = {
    "paddle": ("ours, Paddle Inference", "tab:red", "o--"),
    "openvino": ("ours, OpenVINO", "tab:red", "o-"),
    "openvino_bf16": ("ours, OpenVINO bf16", "tab:olive", "o-"),
    "openvino_int8": ("ours, OpenVINO int8", "tab:pink", "o-"),
    "torch": ("torch eager", "tab:blue", "o-"),
    "torch_compile": ("torch.compile", "tab:cyan", "o-"),
    "onnxruntime": ("ONNX Runtime", "tab:orange", "o-"),
    "openvino_peer": ("OpenVINO on transformers' ONNX", "tab:purple", "o-"),
    PRODUCTS: ("matrix products alone", "black", ":"),
}
OURS = ("paddle", "openvino")
BF16, INT8 = "openvino_bf16", "openvino_int8"
PEERS = ("torch", "torch_compile", "onnxruntime", "openvino_peer")
# (batch, length) -> required speed-up of our fastest float32 engine over torch eager
BOUNDS: dict[Shape, float] = {
    (1, 16): 2.0, (1, 32): 2.0, (1, 128): 1.6, (8, 32): 1.35, (8, 128): 1.35, (32, 32): 1.35,
}  # fmt: skip
INT8_BOUNDS: dict[Shape, float] = {(1, 32): 4.0, (8, 32): 3.5}
START, END = "<!-- table of benchmarks/report_inference.py -->\n", "<!-- end of the table -->\n"


def write_report(path: str) -> None:
    """Write page and plot beside a result, and the table in both READMEs; print the page."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    rows = result["rows"]
    title = f"{result['model']}, float32, median ms of {result['rounds']} rounds"
    write_result(path, result, "\n".join([title, "", *times(rows), "", *ratios(rows)]))
    plot(result, str(Path(path).with_suffix(".png")))
    if Path(path).resolve() == ROOT / "benchmarks" / "results" / "inference-convbert-base.json":
        for name in ("README.md", "README_cn.md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            with atomic_write(ROOT / name) as file:
                file.write(with_table(text, result))


def with_table(readme: str, result: dict[str, Any]) -> str:
    """Return the text of README.md with the table of a result between the markers."""
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    table = "\n".join(times(result["rows"]))
    return f"{before}{START}{describe(result)}:\n\n{table}\n{END}{after}"


def times(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of medians."""
    names = [name for name in LABELS if any(name in row["ms"] for row in rows)]
    yield "| batch x length | " + " | ".join(LABELS[name][0] for name in names) + " |"
    yield "|---|" + "---|" * len(names)
    for row in rows:
        cells = [f"{row['ms'][name]:.1f}" if name in row["ms"] else "" for name in names]
        yield f"| {shape_name(row['shape'])} | {' | '.join(cells)} |"


def ratios(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the speed-up of our fastest float32 engine, and of bf16 and int8, over the peers.

    A ratio below 1 is bold. The last column is the largest difference of the float32 logits.
    """
    peers = [name for name in (*PEERS, PRODUCTS) if any(name in row["ms"] for row in rows)]
    names = " | ".join(LABELS[name][0] for name in peers)
    yield (
        f"| times as fast as | {names} | bound | bf16: torch eager | int8: torch eager | bound "
        "| logits differ by |"
    )
    yield "|---|" + "---|" * (len(peers) + 5)
    for row in rows:
        ms, shape = row["ms"], tuple(row["shape"])
        ours = min(ms[name] for name in OURS if name in ms)
        values = {name: ms[name] / ours for name in peers if name in ms}
        cells = [bold_below_1(name, values) for name in peers]
        cells.append(bound(values["torch"], BOUNDS.get(shape)))
        cells.append(f"{ms['torch'] / ms[BF16]:.2f}" if BF16 in ms else "")
        int8 = ms["torch"] / ms[INT8] if INT8 in ms else None
        cells += [f"{int8:.2f}", bound(int8, INT8_BOUNDS.get(shape))] if int8 else ["", ""]
        worst = max(value for name, value in row["difference"].items() if name not in (BF16, INT8))
        yield f"| {shape_name(shape)} | {' | '.join(cells)} | {worst:.0e} |"


def bold_below_1(name: str, values: dict[str, float]) -> str:
    """Return a ratio as text, in bold if the peer is faster."""
    if name not in values:
        return ""
    text = f"{values[name]:.2f}"
    return f"**{text}**" if values[name] < 1 and name in PEERS else text


def bound(ratio: float, wanted: float | None) -> str:
    """Return a bound on a ratio and whether it is reached."""
    if wanted is None:
        return ""
    return f"{wanted} {'reached' if ratio >= wanted else '**not reached**'}"


def plot(result: dict[str, Any], path: str) -> None:
    """Draw latency against length for one sentence, and throughput against batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    draw(latency, [row for row in result["rows"] if row["shape"][0] == 1], axis=1)
    latency.set(xlabel="length of one sentence, tokens", ylabel="latency, ms")
    draw(throughput, [row for row in result["rows"] if row["shape"][1] == 32], axis=0)
    throughput.set(xlabel="batch of sentences of 32 tokens", ylabel="sentences per second")
    handles, labels = latency.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=4, frameon=False)
    figure.suptitle(f"{result['model']}, float32; {describe(result)}", fontsize=9)
    figure.savefig(path, dpi=110)


def draw(panel, rows: list[dict[str, Any]], axis: int) -> None:
    """Draw one line for each side: against length (axis 1) or batch (axis 0)."""
    from matplotlib.ticker import LogLocator

    for name, (label, colour, style) in LABELS.items():
        points = [(row["shape"], row["ms"][name]) for row in rows if name in row["ms"]]
        if not points:
            continue
        values = [ms if axis else shape[0] * 1000 / ms for shape, ms in points]
        sizes = [shape[axis] for shape, _ in points]
        panel.plot(sizes, values, style, color=colour, label=label)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    ticks = [row["shape"][axis] for row in rows]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # labels of 6 to 9 would overlap
    panel.yaxis.set_minor_formatter("")
    panel.grid(True, which="both", alpha=0.3)


if __name__ == "__main__":
    write_report(sys.argv[1])
