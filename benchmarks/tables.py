"""Results of the measurements: a JSON file, and a page of Markdown beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convbert.command.provenance import describe
from paddlenlp.utils.files import atomic_write, write_json

RESULTS = Path(__file__).resolve().with_name("results")


def write_result(path: str | Path, record: dict[str, Any], *parts: str) -> None:
    """Write a record and its page, and print the page.

    Args:
        path: the JSON file; the page is beside it.
        record: the result of `provenance`, and the measured numbers.
        parts: paragraphs and tables of the page, Markdown.
    """
    write_json(path, record)
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    page = "\n\n".join([f"{describe(record)}; {versions}", *parts]) + "\n"
    with atomic_write(Path(path).with_suffix(".md")) as file:
        file.write(page)
    print(page)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    first, *others = (f"| {' | '.join(map(str, cells))} |" for cells in (header, *rows))
    return "\n".join([first, "|" + "---|" * len(header), *others])


def shape_name(shape: Sequence[int]) -> str:
    """Return (batch, length) as tables show it."""
    return " x ".join(map(str, shape))
