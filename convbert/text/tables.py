"""Tables of texts and labels in files: CSV, TSV, JSON lines and Parquet, with line numbers.

CSV follows RFC 4180: comma, and double quotes around a cell that contains commas, quotes or line
breaks. In TSV a quote is an ordinary character, as in the files of GLUE. Encoding and line ends are
as in `paddlenlp.utils.lines`.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.lines import read_lines

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Attributes:
        path: the file.
        columns: the names of the columns, all different.
        rows: cells by column name; a missing JSON value is None.
        places: for messages, where each row stands: "FILE, line N".
    """

    path: str
    columns: list[str]
    rows: list[dict[str, Any]]
    places: list[str]

    def require(self, name: str) -> str:
        """Return ``name``; raise `UserError` where there is no such column."""
        if name not in self.columns:
            columns = ", ".join(f"'{column}'" for column in self.columns)
            raise UserError("column", f"{self.path} has no column '{name}', only {columns}")
        return name


def read_table(path: str) -> Table:
    """Read a file by its name: .csv, .tsv, .jsonl or .parquet.

    Raises:
        UserError: unreadable, another format, not UTF-8, no rows, a repeated column name, a row
            with too few or too many cells (with its line).
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError("file-damaged", f"{path}: the name must end in one of {', '.join(FORMATS)}")
    if suffix == ".parquet":
        columns, rows = _read_parquet(path)
        places = [f"{path}, row {number}" for number in range(1, len(rows) + 1)]
        return _checked(Table(path, columns, rows, places))
    text = "\n".join(line for _, line in read_lines(path, flag=""))
    if suffix == ".jsonl":
        return _checked(_read_json_lines(path, text))
    quoting = {"delimiter": ",", "strict": True}
    if suffix == ".tsv":
        quoting = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    return _checked(_read_cells(path, text, quoting))


def _checked(table: Table) -> Table:
    repeated = [name for name in table.columns if table.columns.count(name) > 1]
    if repeated:
        raise UserError("column", f"{table.path} has more than one column '{repeated[0]}'")
    if not table.rows:
        raise UserError("empty-input", f"{table.path} has no rows below its header")
    return table


def _read_cells(path: str, text: str, quoting: dict[str, Any]) -> Table:
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline="\n"), **quoting)
    columns, rows, places = None, [], []
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if columns is None:
                columns = [cell.strip() for cell in cells]
            elif not cells:  # a blank line
                continue
            elif len(cells) != len(columns):
                message = f"{place} has {len(cells)} cells instead of {len(columns)}"
                raise UserError("row", message)
            else:
                rows.append(dict(zip(columns, cells)))
                places.append(place)
    except csv.Error as error:
        raise UserError("row", f"{path}, line {reader.line_num}: {error}") from None
    return Table(path, columns or [], rows, places)


def _read_json_lines(path: str, text: str) -> Table:
    rows, places, columns = [], [], {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError("row", f"{place} is not a JSON object")
        rows.append(row)
        places.append(place)
        columns.update(dict.fromkeys(row))
    return Table(path, list(columns), rows, places)


def _read_parquet(path: str) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            "package-missing", f"{path}: reading Parquet needs pyarrow (pip install pyarrow)"
        ) from None
    try:
        table = parquet.read_table(path)
    except OSError as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
    except pyarrow.ArrowInvalid as error:
        raise UserError("file-damaged", f"{path} is not a Parquet file: {error}") from None
    return table.column_names, table.to_pylist()


def cell_text(row: dict[str, Any], column: str, place: str) -> str:
    """Return a cell that must be a non-empty string.

    Raises:
        UserError: it is missing, of another type, or empty.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise UserError("text", f"{place}: column '{column}' is empty or not a text")
    return value


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
