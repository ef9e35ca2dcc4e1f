"""One self-contained HTML page about a classifier; pictures are SVG inside the page."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; --line: #d9dde3; --soft: #5b6470; --mark: #1f77b4; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1d2127; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
p.note {{ color: var(--soft); margin: .3rem 0; }}
table {{ border-collapse: collapse; margin: .6rem 0; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left;
         vertical-align: top; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.right {{ background: #e6f2e6; }} td.wrong {{ background: #fbe9e7; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{facts}
{sections}</body>
</html>
"""


def page(title: str, facts: dict[str, str], sections: dict[str, str]) -> str:
    """Return a whole page; ``facts`` are shown at the top, ``sections`` are HTML by heading."""
    rows = [[_cell(name), _cell(fact)] for name, fact in facts.items()]
    parts = [f"<h2>{escape(heading)}</h2>\n{content}\n" for heading, content in sections.items()]
    return PAGE.format(title=escape(title), facts=_table(rows), sections="".join(parts))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of rows with the same keys, which are its header."""
    if not rows:
        return note("None.")
    header = [_cell(name, "th", _kind(value)) for name, value in rows[0].items()]
    return _table([header, *([_cell(value) for value in row.values()] for row in rows)])


def confusion_table(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Rows are true labels, columns are answers."""
    rows = [[_cell("true label, answered as", "th"), *(_cell(n, "th", "number") for n in names)]]
    for true, counts in enumerate(matrix):
        cells = [_cell(names[true], "th")]
        for answered, count in enumerate(counts):
            kind = "wrong" if count else ""
            if answered == true:
                kind = "right"
            cells.append(_cell(count, "td", f"number {kind}"))
        rows.append(cells)
    return _table(rows)


def _kind(value: Any) -> str:
    return "" if isinstance(value, str) else "number"


def _cell(value: Any, tag: str = "td", kind: str | None = None) -> str:
    """A cell; numbers are right-aligned, fractions have four digits."""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    if value is None:
        text = "-"
    kind = _kind(value) if kind is None else kind
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(row)}</tr>\n" for row in rows]
    return f"<table>\n{''.join(lines)}</table>"


def note(text: str) -> str:
    """A short paragraph that explains what follows."""
    return f'<p class="note">{escape(text)}</p>'


def image(kind: str, content: bytes, description: str) -> str:
    """An image inside the page; ``kind`` is png or svg+xml."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{data}">'


def _axes(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _svg(axes, description: str) -> str:
    axes.legend()
    svg = io.BytesIO()
    axes.figure.savefig(svg, format="svg", metadata={"Date": None})
    return image("svg+xml", svg.getvalue(), description)


def reliability_chart(before: list[dict], after: list[dict]) -> str:
    """Accuracy over confidence, before and after temperature scaling."""
    axes = _axes(5.2, 4.2)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    for rows, name, marker in ((before, "before", "o"), (after, "after temperature", "s")):
        points = [(row["confidence"], row["accuracy"]) for row in rows]
        axes.plot(*zip(*points), marker=marker, label=name, alpha=0.8)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    return _svg(axes, "accuracy over confidence")


def length_chart(words: np.ndarray, right: np.ndarray) -> str:
    """Histogram of the number of words, for right and wrong answers."""
    axes = _axes(7.2, 3.2)
    width = max(1, -(-int(words.max()) // 30))
    bins = np.arange(0.5, words.max() + 1 + width, width)
    colors, names = ["tab:blue", "tab:red"], ["right", "wrong"]
    axes.hist([words[right], words[~right]], bins=bins, stacked=True, label=names, color=colors)
    axes.set(xlabel="words", ylabel="texts")
    return _svg(axes, "number of texts by words")
