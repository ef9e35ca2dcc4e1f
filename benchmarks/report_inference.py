"""Tables and plot of a result of `run.sh inference`; the speed table of both READMEs.

    python benchmarks/report_inference.py benchmarks/results/inference-convbert-base.json

writes the Markdown page and the plot beside the result. The table of convbert-base is also written
to README.md and README_cn.md, between two markers.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.tables import RESULTS, shape_name, table, write_result
from convbert.command.flags import make_parser
from convbert.command.provenance import describe
from convbert.command.start import run_main
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.utils.files import atomic_write

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
    "products": ("matrix products alone", "black", ":"),
}
FLOAT, BF16, INT8 = ("paddle", "openvino"), "openvino_bf16", "openvino_int8"
# (batch, length) -> required speed-up of our fastest float32 engine over torch eager
BOUNDS = {
    (1, 16): 2.0, (1, 32): 2.0, (1, 128): 1.6, (8, 32): 1.35, (8, 128): 1.35, (32, 32): 1.35,
}  # fmt: skip
INT8_BOUNDS = {(1, 32): 4.0, (8, 32): 3.5}
START, END = "<!-- table of benchmarks/report_inference.py -->\n", "<!-- end of the table -->\n"
Rows = list[dict[str, Any]]


def write_report(path: str) -> None:
    """Write page and plot beside a result, and the table in both READMEs; print the page."""
    result = read_json(path)
    title = f"{result['model']}, float32, median ms of {result['rounds']} rounds"
    write_result(path, result, title, times(result["rows"]), ratios(result["rows"]))
    plot(result, str(Path(path).with_suffix(".png")))
    if Path(path).resolve() == RESULTS / "inference-convbert-base.json":
        for name in ("README.md", "README_cn.md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            with atomic_write(ROOT / name) as file:
                file.write(with_table(text, result))


def with_table(readme: str, result: dict[str, Any]) -> str:
    """Return the text of README.md with the table of a result between the markers."""
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}{describe(result)}:\n\n{times(result['rows'])}\n{END}{after}"


def measured(rows: Rows) -> list[str]:
    """Return the sides of a result."""
    return [name for name in LABELS if any(name in row["ms"] for row in rows)]


def times(rows: Rows) -> str:
    """Return the table of medians."""
    sides = measured(rows)
    lines = []
    for row in rows:
        cells = [f"{row['ms'][name]:.1f}" if name in row["ms"] else "" for name in sides]
        lines.append([shape_name(row["shape"]), *cells])
    return table(["batch x length", *(LABELS[name][0] for name in sides)], lines)


def ratios(rows: Rows) -> str:
    """Return the speed-up of our fastest float32 engine, and of bf16 and int8, over the peers.

    A ratio below 1 is bold. The last column is the largest difference of the float32 logits.
    """
    peers = [name for name in measured(rows) if name not in (*FLOAT, BF16, INT8)]
    lines = []
    for row in rows:
        ms, shape = row["ms"], tuple(row["shape"])
        ours = min(ms[name] for name in FLOAT if name in ms)
        faster = {name: ms[name] / ours for name in peers if name in ms}
        bf16, int8 = (ms["torch"] / ms[name] if name in ms else None for name in (BF16, INT8))
        exact = [value for name, value in row["difference"].items() if name not in (BF16, INT8)]
        cells = [shown(faster.get(name), bold=name != "products") for name in peers]
        cells += [bound(faster["torch"], BOUNDS.get(shape)), shown(bf16)]
        cells += [shown(int8), bound(int8, INT8_BOUNDS.get(shape)), f"{max(exact):.0e}"]
        lines.append([shape_name(shape), *cells])
    names = [LABELS[name][0] for name in peers]
    header = ["times as fast as", *names, "bound", "bf16: torch eager", "int8: torch eager"]
    return table([*header, "bound", "logits differ by"], lines)


def shown(ratio: float | None, bold: bool = False) -> str:
    """Return a ratio as text; ``bold`` if it is below 1."""
    if ratio is None:
        return ""
    return f"**{ratio:.2f}**" if bold and ratio < 1 else f"{ratio:.2f}"


def bound(ratio: float | None, wanted: float | None) -> str:
    """Return a bound on a ratio and whether it is reached."""
    if ratio is None or wanted is None:
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


def draw(panel, rows: Rows, axis: int) -> None:
    """Draw one line for each side: against length (axis 1) or batch (axis 0)."""
    from matplotlib.ticker import LogLocator

    for name in measured(rows):
        label, colour, style = LABELS[name]
        points = [(row["shape"], row["ms"][name]) for row in rows if name in row["ms"]]
        values = [ms if axis else shape[0] * 1000 / ms for shape, ms in points]
        panel.plot([s[axis] for s, _ in points], values, style, color=colour, label=label)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    ticks = [row["shape"][axis] for row in rows]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # labels of 6 to 9 would overlap
    panel.yaxis.set_minor_formatter("")
    panel.grid(True, which="both", alpha=0.3)


def main(argv=None) -> None:
    """Write the page and the plot of one result again."""
    parser = make_parser(__doc__)
    parser.add_argument("result", help="JSON file of the result")
    write_report(parser.parse_args(argv).result)


if __name__ == "__main__":
    run_main(main)
