"""Result files: the record as JSON, and a page of Markdown beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convbert.command.provenance import describe
from paddlenlp.utils.files import atomic_write, write_json


def write_result(path: str, record: dict[str, Any], text: str) -> None:
    """Write a record and its page, and print the page.

    Args:
        path: the JSON file; the page is beside it.
        record: the result of `provenance`, and the measured numbers.
        text: tables of the numbers, Markdown.
    """
    write_json(path, record)
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    page = f"{describe(record)}; {versions}\n\n{text}\n"
    with atomic_write(Path(path).with_suffix(".md")) as file:
        file.write(page)
    print(page)


def shape_name(shape) -> str:
    """Return (batch, length) as tables show it."""
    return " x ".join(map(str, shape))
