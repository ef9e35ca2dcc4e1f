"""Draw images/convbert_framework.png: python docs/draw_architecture.py

The ideas are those of the ConvBERT paper (arXiv 2008.02496, sections 3.2 and 3.3), the names those
of paddlenlp/transformers/convbert/layers.py.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "images" / "convbert_framework.png"
SIZE = (13.6, 9.7)  # inches; the coordinates below are inches too
LINE = "#444444"
COLORS = {
    "shared": "#e6e6e6",
    "attention": "#cfe3f5",
    "convolution": "#fbdcc0",
    "feed-forward": "#d5ecd4",
}

WORDS = ("river", "bank", ",", "bank", "loan")
STEP, TAP, FLOOR = 0.82, 0.15, 7.5  # between two words, width of a tap, bottom of the kernels
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8a000", "#56b4e9",
)  # fmt: skip
# One kernel per word: its color and the heights of its three taps. Same color: same kernel.
SAME = (BLUE, (0.3, 0.6, 0.4))
BANK = (ORANGE, (0.25, 0.65, 0.2))
RIVER, COMMA, LOAN = (
    (GREEN, (0.2, 0.5, 0.55)),
    (PINK, (0.45, 0.25, 0.45)),
    (YELLOW, (0.6, 0.4, 0.15)),
)
PANELS = (
    (
        "a", "Ordinary convolution", "one learned kernel for all positions",
        r"$w_l = w$", (SAME,) * 5, 0,
    ),
    (
        "b", "Dynamic convolution", "the kernel depends on the token alone",
        r"$w_l = \mathrm{softmax}(W x_l)$", (RIVER, BANK, COMMA, BANK, LOAN), 1,
    ),
    (
        "c", "Span-based dynamic convolution", "the kernel depends on the tokens around it",
        r"$w_l = \mathrm{softmax}(W (Q \odot K_s)_l)$",
        (RIVER, BANK, COMMA, (SKY, (0.15, 0.35, 0.65)), LOAN), 3,
    ),
)  # fmt: skip

NOTE = (
    "The two words “bank” get the same kernel in (a) and (b). In (c) their neighbours tell them "
    "apart. Three taps and spans of three tokens are drawn; the model uses nine."
)

# name: (x of the middle, y of the middle, width, height, color, text)
BOXES = {
    "x": (0.95, 2.65, 1.1, 0.75, "shared", "input $x$\n[B, L, H]"),
    "v": (3.0, 4.45, 1.9, 0.62, "attention", "v_proj\n$V$"),
    "k": (3.0, 3.55, 1.9, 0.62, "attention", "k_proj\n$K$"),
    "q": (3.0, 2.65, 1.9, 0.62, "shared", "q_proj\n$Q$, used by both"),
    "ks": (3.0, 1.75, 1.9, 0.62, "convolution", "key_conv_attn_layer\n$K_s$, spans of 9 tokens"),
    "cv": (3.0, 0.85, 1.9, 0.62, "convolution", "conv_out_layer\nvalues"),
    "att": (
        6.9, 4.0, 2.9, 1.0, "attention",
        "self-attention, N heads\n" r"$\mathrm{softmax}(Q K^T / \sqrt{D})\,V$",
    ),
    "ker": (
        5.75, 2.2, 1.85, 1.0, "convolution",
        "conv_kernel_layer\n" r"$\mathrm{softmax}(W(Q \odot K_s))$" "\n9 taps per head",
    ),
    "sdc": (
        8.15, 1.45, 2.0, 1.0, "convolution",
        "span-based dynamic\nconvolution, N heads\n" r"$\sum_k w_{l,k}\, v_{l+k-4}$",
    ),
    "cat": (10.0, 2.65, 1.1, 0.85, "shared", "concatenate\n[B, L, 2ND]\nout_proj"),
    "add1": (12.2, 3.9, 1.9, 0.55, "shared", "add $x$, LayerNorm"),
    "ffn": (12.2, 2.65, 1.9, 0.85, "feed-forward", "feed-forward\n(grouped in\nmedium-small)"),
    "add2": (12.2, 1.4, 1.9, 0.55, "shared", "add, LayerNorm"),
}  # fmt: skip
ARROWS = (
    "x v", "x k", "x q", "x ks", "x cv", "v att", "k att", "q att", "q ker", "ks ker", "cv sdc",
    "ker sdc", "att cat", "sdc cat", "cat add1", "add1 ffn", "ffn add2",
)  # fmt: skip


def draw_kernels(axes: Axes, left: float, panel) -> None:
    """Draw one of the three convolutions: a kernel above each word, and its source words."""
    letter, title, idea, formula, kernels, span = panel
    axes.text(left, 9.3, f"({letter})  {title}", fontsize=12.5, weight="bold")
    axes.text(left, 8.97, idea, fontsize=10.5)
    axes.text(left, 8.57, formula, fontsize=12)
    for position, (word, (color, taps)) in enumerate(zip(WORDS, kernels)):
        x = left + 0.35 + position * STEP
        for tap, height in enumerate(taps):
            axes.bar(x + (tap - 1) * TAP, height, TAP * 0.8, FLOOR, color=color)
        axes.plot([x - 0.28, x + 0.28], [FLOOR, FLOOR], color=LINE, linewidth=1)
        axes.text(x, FLOOR - 1.15, word, fontsize=11.5, ha="center", va="center", weight="bold")
        for source in sources(position, span):
            start = left + 0.35 + source * STEP
            arrow(axes, (start, FLOOR - 0.95), (x, FLOOR - 0.04), color)


def sources(position: int, span: int) -> list[int]:
    """The words from which the kernel at ``position`` is computed: a span of ``span`` words."""
    if span == 0:
        return []
    around = range(position - span // 2, position + span // 2 + 1)
    return [word for word in around if 0 <= word < len(WORDS)]


def arrow(axes: Axes, start, end, color: str = LINE) -> None:
    """Draw an arrow between two points."""
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def draw_box(axes: Axes, x, y, width, height, color: str, text: str) -> None:
    """Draw a box around its text."""
    corner = (x - width / 2, y - height / 2)
    style = {"facecolor": COLORS[color], "edgecolor": LINE, "linewidth": 1}
    axes.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.08", **style)
    )
    axes.text(x, y, text, fontsize=9.5, ha="center", va="center", linespacing=1.35)


def connect(axes: Axes, first: str, second: str) -> None:
    """Draw an arrow between two boxes: from the right edge to the left, or straight down."""
    x1, y1, width1, height1 = BOXES[first][:4]
    x2, y2, width2, height2 = BOXES[second][:4]
    if x1 == x2:
        arrow(axes, (x1, y1 - height1 / 2), (x2, y2 + height2 / 2))
        return
    reach = 0.3 * height2  # several arrows enter one box at different heights
    end = y2 + max(-reach, min(reach, y1 - y2))
    arrow(axes, (x1 + width1 / 2, y1), (x2 - width2 / 2, end))


def main() -> None:
    """Draw the figure."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.axis("off")
    for column, panel in enumerate(PANELS):
        draw_kernels(axes, 0.4 + column * 4.5, panel)
    axes.text(0.4, 5.85, NOTE, fontsize=10.5)
    frame = {"facecolor": "none", "edgecolor": LINE, "linestyle": (0, (4, 4))}
    axes.add_patch(FancyBboxPatch((0.15, 0.25), 10.65, 5.3, boxstyle="round,pad=0", **frame))
    axes.text(0.4, 5.2, "(d)  Mixed attention", fontsize=12.5, weight="bold")
    axes.text(11.25, 5.2, "rest of an encoder layer", fontsize=10.5)
    for box in BOXES.values():
        draw_box(axes, *box)
    for pair in ARROWS:
        connect(axes, *pair.split())
    figure.savefig(str(TARGET), dpi=110, metadata={"Software": None})
    print(TARGET)


if __name__ == "__main__":
    main()
