"""Draw the two pictures of the documentation: python test_tipc/docs/draw_flow.py"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT = 2.3, 0.8
COLORS = {"input": "#e8eef7", "step": "#ffffff", "check": "#e6f4e6", "end": "#fdf0dc"}
Box = tuple[float, float, str, str]  # x, y, color name, text

# Columns and rows of the grid are in units of boxes.
PICTURES: dict[str, tuple[list[Box], list[tuple[int, int]]]] = {
    "tipc_train_inference.png": (
        [
            (0, 2, "input", "configuration, MODE\nchecked line by line"),
            (0, 1, "input", "prepare.sh\ndata, checkpoints"),
            (1, 2, "step", "train\n1 or more processes"),
            (2, 2, "step", "eval\ndygraph answers"),
            (2, 1, "step", "export\nwith its own proof"),
            (3, 2, "step", "infer\nevery combination"),
            (3, 1, "step", "quantize\nklquant only"),
            (3, 0, "step", "infer, int8\nklquant only"),
            (4, 2, "check", "compare_results.py\ndevice, labels,\nprobabilities, accuracy"),
            (4, 1, "end", "results_python.log\nsummary, exit status"),
        ],
        [(0, 2), (1, 2), (1, 4), (2, 3), (2, 4), (3, 5), (4, 5), (4, 6), (6, 7), (5, 8), (7, 8)]
        + [(8, 9)],
    ),
    "tipc_serving.png": (
        [
            (0, 1, "input", "exported model\nfingerprint"),
            (1, 1, "step", "infer\nPaddle answers"),
            (1, 0, "step", "convert\nserver and client"),
            (2, 0, "step", "serve\nfree ports, /health\nwith a deadline"),
            (3, 0, "step", "client\nevery text, HTTP"),
            (4, 0, "step", "stop\nown pid, ports free"),
            (3, 1, "check", "compare_results.py\nlabels, probabilities"),
            (4, 1, "end", "results_serving.log\nsummary, exit status"),
        ],
        [(0, 1), (0, 2), (2, 3), (3, 4), (4, 5), (1, 6), (4, 6), (6, 7), (5, 7)],
    ),
}


def center(box: Box) -> tuple[float, float]:
    """Middle of a box on the page."""
    return box[0] * (WIDTH + 0.5) + WIDTH / 2, box[1] * (HEIGHT + 0.5) + HEIGHT / 2


def arrow(axes, first: Box, second: Box) -> None:
    """Draw an arrow from the edge of one box to the edge of another."""
    (x1, y1), (x2, y2) = center(first), center(second)
    if first[0] == second[0]:
        up = 1 if y2 > y1 else -1
        start, end = (x1, y1 + up * HEIGHT / 2), (x2, y2 - up * HEIGHT / 2)
    else:
        start, end = (x1 + WIDTH / 2, y1), (x2 - WIDTH / 2, y2)
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "#555555"})


def draw(name: str) -> Path:
    """Draw one picture and return its path."""
    boxes, arrows = PICTURES[name]
    columns, rows = max(box[0] for box in boxes) + 1, max(box[1] for box in boxes) + 1
    size = (columns * (WIDTH + 0.5), rows * (HEIGHT + 0.5))
    figure = Figure(figsize=size)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(-0.25, size[0] - 0.25), ylim=(-0.25, size[1] - 0.25))
    axes.axis("off")
    for box in boxes:
        x, y = center(box)
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        style = {"facecolor": COLORS[box[2]], "edgecolor": "#333333"}
        patch = FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1")
        patch.set(**style)
        axes.add_patch(patch)
        axes.text(x, y, box[3], ha="center", va="center", fontsize=9)
    for first, second in arrows:
        arrow(axes, boxes[first], boxes[second])
    path = FOLDER / name
    figure.savefig(str(path), dpi=110, metadata={"Software": None})
    return path


def main() -> None:
    """Draw both pictures."""
    for name in PICTURES:
        print(draw(name))


if __name__ == "__main__":
    main()
