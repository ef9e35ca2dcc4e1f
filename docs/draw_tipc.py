"""Draw images/tipc_guide.png, the chains of TIPC and their checks: python docs/draw_tipc.py"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "images" / "tipc_guide.png"
WIDTH, STEP_X, STEP_Y, BOX = 12.4, 1.95, 1.25, (1.62, 0.8)  # inches
FIRST_X = 2.6  # of the first step; the script's name is left of it
# The color of each script, and its steps with what is checked.
CHAINS = {
    "prepare.sh": (
        "#e6e6e6",
        [("data", "SHA-256"), ("first weights", "SHA-256"), ("trained model", "SHA-256")],
    ),
    "test_train_inference_python.sh": (
        "#cfe3f5",
        [
            ("train", "loss, best step"),
            ("evaluate", "accuracy"),
            ("export", "same logits"),
            ("quantize", "accuracy"),
            ("infer", "labels, accuracy"),
        ],
    ),
    "test_serving.sh": (
        "#fbdcc0",
        [
            ("infer", "reference answers"),
            ("convert", "both folders"),
            ("serve", "health, device"),
            ("client", "same answers"),
            ("stop", "ports are free"),
        ],
    ),
    "test_paddle2onnx.sh": (
        "#d5ecd4",
        [
            ("infer", "reference answers"),
            ("convert", "ONNX file"),
            ("infer", "same answers"),
        ],
    ),
    "benchmark_train.sh": ("#f3d9ea", [("train", "steps"), ("analyse", "ips in JSON")]),
}


def draw() -> Figure:
    """One row per script, from left to right."""
    height = STEP_Y * len(CHAINS) + 0.2
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    for row, (script, (color, steps)) in enumerate(CHAINS.items()):
        y = height - STEP_Y * (row + 0.55)
        name = script.replace("_inference", "_\ninference")
        axes.text(0.15, y, name, va="center", family="monospace", fontsize=10)
        for column, (step, check) in enumerate(steps):
            x = FIRST_X + STEP_X * column
            shape = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": color, "ec": "#444444"}
            axes.add_patch(FancyBboxPatch((x, y - BOX[1] / 2), *BOX, **shape))
            middle = x + BOX[0] / 2
            axes.text(middle, y + 0.16, step, ha="center", va="center", fontsize=11, weight="bold")
            axes.text(middle, y - 0.18, check, ha="center", va="center", fontsize=9)
            if column:
                arrow = {"arrowstyle": "->", "color": "#444444"}
                axes.annotate("", (x, y), (x - STEP_X + BOX[0], y), arrowprops=arrow)
    return figure


if __name__ == "__main__":
    draw().savefig(TARGET, metadata={"Software": None})
    print(TARGET.relative_to(TARGET.parents[1]))
