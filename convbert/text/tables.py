"""Tables of texts and labels in files: CSV, TSV, JSON lines and Parquet, with line numbers.

CSV follows RFC 4180: comma, and double quotes around a cell that contains commas, quotes or line
breaks. In TSV a quote is an ordinary character, as in the files of GLUE. Encoding and line ends are
as in `paddlenlp.utils.lines`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.lines import read_lines
from paddlenlp.utils.parsing import parse_json
from paddlenlp.utils.text import is_blank

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
LONGEST_CELL = 1 << 26  # characters; limits a cell whose quotation mark is never closed


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Attributes:
        path: the file.
        columns: the names of the columns, all different.
        rows: cells by column name; a missing JSON value is None.
        places: the place of each row for messages: "FILE, line N".
    """

    path: str
    columns: list[str]
    rows: list[dict[str, Any]]
    places: list[str]

    def require(self, name: str) -> str:
        """Return ``name``; raise `UserError` if there is no such column."""
        check_columns(self.path, self.columns, [name])
        return name


class Record(NamedTuple):
    """One row of a text file: its cells by column, its place for messages, and its text exactly as
    in the file, without the final line end."""

    cells: dict[str, Any]
    place: str
    raw: str


class TextTable:
    """A CSV, TSV or JSON lines file that is read record by record; iterate only once.

    Attributes:
        columns: the names in the header; [] for JSON lines, where each line has its own.
        header: the header exactly as in the file; "" for JSON lines.

    Raises:
        UserError: unreadable, not UTF-8, empty, a repeated column name; while iterating, a row with
            too few or too many cells (with its line).
    """

    def __init__(self, path: str):
        self.columns: list[str] = []
        self.header = ""
        suffix, lines = Path(path).suffix.lower(), read_lines(path, flag="")
        if suffix == ".jsonl":
            self._records = _json_records(lines)
            return
        rows = _rows(path, lines, tabs=suffix == ".tsv")
        cells, _, self.header = next(rows)
        self.columns = [cell.strip() for cell in cells]
        check_columns(path, self.columns)
        self._records = _records(rows, self.columns)

    def __iter__(self) -> Iterator[Record]:
        return self._records


def _rows(
    path: str, lines: Iterator[tuple[str, str]], tabs: bool
) -> Iterator[tuple[list[str], str, str]]:
    """Yield cells, place and original text of each row; a quoted cell may span lines."""
    taken: list[str] = []

    def feed() -> Iterator[str]:
        for _, line in lines:
            taken.append(line)
            yield line + "\n"

    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    if tabs:
        reader = csv.reader(feed(), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(feed(), strict=True)
    try:
        for cells in reader:
            yield cells, f"{path}, line {reader.line_num}", "\n".join(taken)
            taken.clear()
    except csv.Error as error:
        raise UserError("row", f"{path}, line {reader.line_num}: {error}") from None


def _records(rows: Iterator[tuple[list[str], str, str]], columns: list[str]) -> Iterator[Record]:
    for cells, place, raw in rows:
        if not cells:  # a blank line
            continue
        if len(cells) != len(columns):
            raise UserError("row", f"{place} has {len(cells)} cells instead of {len(columns)}")
        yield Record(dict(zip(columns, cells)), place, raw)


def _json_records(lines: Iterator[tuple[str, str]]) -> Iterator[Record]:
    for place, line in lines:
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError("row", f"{place} is not a JSON object")
        yield Record(row, place, line)


def read_table(path: str) -> Table:
    """Read a .csv, .tsv, .jsonl or .parquet file; the suffix gives the format.

    Raises:
        UserError: unreadable, an unknown suffix, not UTF-8, no rows, a repeated column name, a row
            with too few or too many cells (with its line).
    """
    if table_format(path) == ".parquet":
        with open_parquet(path) as file:
            found = file.read()
        columns, rows = found.column_names, found.to_pylist()
        places = [f"{path}, row {number}" for number in range(1, len(rows) + 1)]
        check_columns(path, columns)
    else:
        text = TextTable(path)
        records = list(text)
        rows, places = [r.cells for r in records], [r.place for r in records]
        columns = text.columns or list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        raise UserError("empty-input", f"{path} has no rows below its header")
    return Table(path, columns, rows, places)


def table_format(path: str) -> str:
    """Return a table's suffix in lower case; raise `UserError` if it is not in `FORMATS`."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError("file-damaged", f"{path}: the name must end in one of {', '.join(FORMATS)}")
    return suffix


def check_columns(path: str, columns: Sequence[str], wanted: Sequence[str] = ()) -> None:
    """Raise `UserError` for a repeated name, or if one of ``wanted`` is missing."""
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise UserError("column", f"{path} has more than one column '{repeated[0]}'")
    for name in wanted:
        if name not in columns:
            found = ", ".join(f"'{column}'" for column in columns)
            raise UserError("column", f"{path} has no column '{name}', only {found}")


@contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """Open a Parquet file as a ``pyarrow.parquet.ParquetFile`` for the block.

    Raises:
        UserError: pyarrow is not installed, or the file is unreadable or damaged.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        message = f"{path}: reading Parquet needs pyarrow (pip install pyarrow)"
        raise UserError("package-missing", message) from None
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise UserError("file-damaged", f"{path} is not a Parquet file: {error}") from None
    except OSError as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None


def row_text(row: dict[str, Any], columns: Sequence[str], place: str) -> Text:
    """Return the text in one column of a row, or the pair in two.

    Raises:
        UserError: a cell is missing, not a string, or has no visible characters.
    """
    for column in columns:
        value = row.get(column)
        if not isinstance(value, str) or is_blank(value):
            raise UserError("text", f"{place}: column '{column}' is empty or not a string")
    return row[columns[0]] if len(columns) == 1 else tuple(row[column] for column in columns)


def cell_label(row: dict[str, Any], column: str, place: str) -> str:
    """Return a label as a string without spaces around it; numbers and booleans are accepted.

    Raises:
        UserError: it is missing or empty.
    """
    value = row.get(column)
    text = str(value).strip() if isinstance(value, (str, int, float, bool)) else ""
    if not text:
        raise UserError("label", f"{place}: column '{column}' has no label")
    return text
