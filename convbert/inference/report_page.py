"""One self-contained HTML page about a classifier; pictures are SVG inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

STYLE = """
:root { color-scheme: light; --line: #d9dde3; --soft: #5b6470; --mark: #1f77b4; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2127; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: var(--soft); margin: .3rem 0; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left;
         vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.right { background: #e6f2e6; } td.wrong { background: #fbe9e7; }
img { max-width: 100%; height: auto; }
"""


def page(title: str, facts: dict[str, str], sections: Iterable[tuple[str, str]]) -> str:
    """Return a whole page.

    Args:
        title: its heading.
        facts: short texts by name, shown at the top.
        sections: heading and HTML content of each part.
    """
    rows = table(("", ""), facts.items())
    body = "".join(f"<h2>{escape(heading)}</h2>\n{content}\n" for heading, content in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{rows}\n{body}</body>\n</html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers are right-aligned, fractions have four digits."""
    lines = [list(row) for row in rows]
    head = "".join(
        f"<th{_align(value)}>{escape(name)}</th>"
        for name, value in zip(header, lines[0] if lines else header)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{_align(cell)}>{_shown(cell)}</td>" for cell in row) + "</tr>\n"
        for row in lines
    )
    named = f"<thead><tr>{head}</tr></thead>\n" if any(header) else ""
    return f"<table>\n{named}<tbody>\n{body}</tbody>\n</table>"


def _align(value: Any) -> str:
    return "" if isinstance(value, str) else ' class="number"'


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def note(text: str) -> str:
    """A short paragraph that explains what follows."""
    return f'<p class="note">{escape(text)}</p>'


def confusion_table(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Rows are true labels, columns are answers."""
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in names)
    rows = "".join(
        f"<tr><th>{escape(names[i])}</th>"
        + "".join(
            f'<td class="number {"right" if i == j else "wrong" if count else ""}">{count}</td>'
            for j, count in enumerate(row)
        )
        + "</tr>\n"
        for i, row in enumerate(matrix)
    )
    corner = "true label, answered as"
    return f"<table>\n<tr><th>{corner}</th>{head}</tr>\n{rows}</table>"


def group_table(groups: dict[str, dict]) -> str:
    """Accuracy by group, as in `evaluation.by_length`."""
    rows = [(name, row["texts"], row["right"], row["accuracy"]) for name, row in groups.items()]
    return table(("group", "texts", "right", "accuracy"), rows)


def image(kind: str, content: bytes, description: str) -> str:
    """An image inside the page; ``kind`` is png or svg+xml."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{data}">'


def _figure(draw, description: str, size: tuple[float, float]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return image("svg+xml", svg.getvalue(), description)


def reliability_chart(before: list[dict], after: list[dict]) -> str:
    """Accuracy over confidence, before and after temperature scaling."""

    def draw(axes) -> None:
        axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
        for rows, name, marker in ((before, "before", "o"), (after, "after temperature", "s")):
            points = [(row["confidence"], row["accuracy"]) for row in rows]
            axes.plot(*zip(*points), marker=marker, label=name, alpha=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend()

    return _figure(draw, "accuracy over confidence", (5.2, 4.2))


def length_chart(words: np.ndarray, right: np.ndarray) -> str:
    """Histogram of the number of words, for right and wrong answers."""

    def draw(axes) -> None:
        width = max(1, -(-int(words.max()) // 30))
        bins = np.arange(0.5, words.max() + 1 + width, width)
        parts = [words[right], words[~right]]
        colors = ["tab:blue", "tab:red"]
        axes.hist(parts, bins=bins, stacked=True, label=["right", "wrong"], color=colors)
        axes.set(xlabel="words", ylabel="texts")
        axes.legend()

    return _figure(draw, "number of texts by words", (7.2, 3.2))
