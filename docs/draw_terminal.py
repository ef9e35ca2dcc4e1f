"""Run commands as in a terminal and draw their output, for the pictures in the documentation.

Example:
    python docs/draw_terminal.py images/service_start.png "bash shell/serving.sh start"

Paths of this checkout are shown relative to it. A command that fails ends the script.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from matplotlib.figure import Figure

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write

COLUMNS, LINE_INCHES, CHARACTER_INCHES = 110, 0.19, 0.0805
BACKGROUND, FOREGROUND, PROMPT = "#1e1e1e", "#e6e6e6", "#8ae234"


def main(argv: Sequence[str] | None = None) -> None:
    """Run, then draw."""
    parser = make_parser(__doc__)
    parser.add_argument("picture", help="PNG file to write")
    parser.add_argument("commands", nargs="+", metavar="COMMAND", help="run by bash, in order")
    parser.add_argument("--last", type=int, help="show only this many last lines of each command")
    args = parser.parse_args(argv)
    lines: list[tuple[str, str]] = []
    for command in args.commands:
        lines += wrapped(f"$ {command}", PROMPT)
        for line in run(command)[-(args.last or 0) :]:
            lines += wrapped(line, FOREGROUND)
    with atomic_write(args.picture, "wb") as file:
        draw(lines).savefig(file, format="png", facecolor=BACKGROUND, metadata={"Software": None})
    print(f"{args.picture}: {len(lines)} lines")


def run(command: str) -> list[str]:
    """Run a command in the checkout and return its lines, standard output and error together.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:]
        raise UserError("step-failed", f"{command}: exit status {done.returncode}: {last}")
    return done.stdout.replace(f"{ROOT}/", "").splitlines()


def wrapped(line: str, color: str) -> list[tuple[str, str]]:
    """Wrap a line like a terminal of `COLUMNS` columns."""
    starts = range(0, max(len(line), 1), COLUMNS)
    return [(line[start : start + COLUMNS], color) for start in starts]


def draw(lines: Sequence[tuple[str, str]]) -> Figure:
    """Draw lines with their colors."""
    height = (len(lines) + 1) * LINE_INCHES
    figure = Figure(figsize=((COLUMNS + 2) * CHARACTER_INCHES, height), dpi=110)
    for number, (line, color) in enumerate(lines, start=1):
        place = 1 - number * LINE_INCHES / height
        figure.text(0.008, place, line, color=color, family="monospace", size=9.6, parse_math=False)
    return figure


if __name__ == "__main__":
    run_main(main)
