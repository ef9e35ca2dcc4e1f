"""Files of texts: one text per line, or tables (CSV, TSV, JSON lines, Parquet) of texts and labels.

Encoding and line ends are as in `paddlenlp.utils.lines`. CSV follows RFC 4180: comma, and double
quotes around a cell that contains commas, quotes or line breaks. In TSV a quote is an ordinary
character, as in the files of GLUE.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import file_error
from paddlenlp.utils.lines import read_lines
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.parsing import parse_json
from paddlenlp.utils.text import is_blank

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
LONGEST_CELL = 1 << 26  # characters; limits a cell whose quotation mark is never closed


@dataclass(frozen=True)
class Row:
    """One text, its place for error messages, and its true label if there is one.

    ``gold`` is the label in the file, ``label_id`` the id that `with_label_ids` adds.
    """

    text: Text
    gold: str | None = None
    where: str = "the text"
    label_id: int | None = None


class Record(NamedTuple):
    """All cells of a row by column, its place for messages, and its text exactly as in the file,
    without the final line end ("" in Parquet)."""

    cells: dict[str, Any]
    place: str
    raw: str = ""

    def row(self, columns: Sequence[str], label_column: str | None = None) -> Row:
        """Return the text in one column, or the pair in two, with the label.

        A label is a string without spaces around it; numbers and booleans are accepted.

        Raises:
            UserError: a text is missing, not a string, or has no visible characters; the label is
                missing or empty; the row repeats the header.
        """
        parts = [self.cells.get(column) for column in columns]
        for column, part in zip(columns, parts):
            if not isinstance(part, str) or is_blank(part):
                message = f"{self.place}: column '{column}' is empty or not a string"
                raise UserError("text", message)
        text = parts[0] if len(parts) == 1 else tuple(parts)
        if label_column is None:
            return Row(text, where=self.place)
        label = self.cells.get(label_column)
        gold = str(label).strip() if isinstance(label, (str, int, float, bool)) else ""
        if not gold:
            raise UserError("label", f"{self.place}: column '{label_column}' has no label")
        if gold == label_column and [part.strip() for part in parts] == [*columns]:
            raise UserError("row", f"{self.place} repeats the header: remove it")
        return Row(text, gold, self.place)


@dataclass(frozen=True)
class Table:
    """A table that is read once, row by row.

    Attributes:
        place: the file, and the line of its header, for messages.
        columns: the names of the columns; of JSON lines, those of the first row.
        records: the rows.
        header: the header of CSV or TSV exactly as in the file.
        total_rows: the number of rows in Parquet; None: not known.
    """

    place: str
    columns: list[str]
    records: Iterator[Record]
    header: str = ""
    total_rows: int | None = None

    def rows(self, columns: Sequence[str], label_column: str | None = None) -> Iterator[Row]:
        """Yield `Record.row` of each row.

        Raises:
            UserError: a column is missing or repeated, or there are no rows; see `Record.row`.
        """
        wanted = [*columns, label_column] if label_column else columns
        check_columns(self.place, self.columns, wanted)
        first = _first(self.records, self.place)
        for record in chain([first], self.records):
            yield record.row(columns, label_column)


def open_table(path: str) -> Table:
    """Open a .csv, .tsv, .jsonl or .parquet file; the suffix gives the format.

    Blank lines are skipped.

    Raises:
        UserError: unreadable, an unknown suffix, not UTF-8, empty. While its records are read: a
            row with too few or too many cells, or not a JSON object (with its line).
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError("file-damaged", f"{path}: the name must end in one of {', '.join(FORMATS)}")
    if suffix == ".parquet":
        with open_parquet(path) as file:
            columns, total_rows = file.schema_arrow.names, file.metadata.num_rows
        return Table(path, columns, _parquet_records(path), total_rows=total_rows)
    lines = read_lines(path)
    if suffix == ".jsonl":
        records = _json_records(lines)
        first = _first(records, path)
        return Table(first.place, list(first.cells), chain([first], records))
    if suffix == ".csv":
        return _with_header(_csv_rows(lines), path)
    return _with_header(_tsv_rows((place, line) for place, line in lines if line), path)


# Cells, place and original text of a row of CSV or TSV.
_Cells = tuple[list[str], str, str]


def _with_header(rows: Iterator[_Cells], path: str) -> Table:
    """The table whose first row is its header."""
    names, place, header = _first(rows, path)
    columns = [name.strip() for name in names]
    return Table(place, columns, _records(rows, columns), header)


def _records(rows: Iterator[_Cells], columns: list[str]) -> Iterator[Record]:
    for cells, place, raw in rows:
        if len(cells) != len(columns):
            raise UserError("row", f"{place} has {len(cells)} cells instead of {len(columns)}")
        yield Record(dict(zip(columns, cells)), place, raw)


def _tsv_rows(lines: Iterable[tuple[str, str]]) -> Iterator[_Cells]:
    return ((line.split("\t"), place, line) for place, line in lines)


def _csv_rows(lines: Iterable[tuple[str, str]]) -> Iterator[_Cells]:
    taken: list[tuple[str, str]] = []  # places and lines; a quoted cell may span lines

    def feed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line[1] + "\n"

    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    try:
        for cells in csv.reader(feed(), strict=True):
            if cells:  # not a blank line
                yield cells, taken[-1][0], "\n".join(line for _, line in taken)
            taken.clear()
    except csv.Error as error:
        message = f"{taken[0][0]}: {error} in the row that begins here: check its quotation marks"
        raise UserError("row", message) from None


def _json_records(lines: Iterable[tuple[str, str]]) -> Iterator[Record]:
    for place, line in lines:
        if not line.strip():
            continue
        try:
            cells = parse_json(line)
        except ValueError:
            cells = None
        if not isinstance(cells, dict):
            raise UserError("row", f"{place} is not a JSON object")
        yield Record(cells, place, line)


def _parquet_records(path: str) -> Iterator[Record]:
    numbers = count(1)
    with open_parquet(path) as file:
        for batch in file.iter_batches():
            for cells in batch.to_pylist():
                yield Record(cells, f"{path}, row {next(numbers)}")


def _first(items: Iterator[Any], place: str) -> Any:
    """Return the first item; raise `UserError` if there is none."""
    item = next(items, None)
    if item is None:
        raise UserError("empty-input", f"{place}: there are no rows of data, add some")
    return item


def check_columns(place: str, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `UserError` if one of ``wanted`` is missing, repeated or wanted twice."""
    for name in wanted:
        if wanted.count(name) > 1:
            raise UserError("column", f"{place}: column '{name}' is named twice: give another one")
        if columns.count(name) != 1:
            number = "two columns" if name in columns else "no column"
            found = ", ".join(f"'{column}'" for column in columns)
            advice = "correct the name"
            if len(columns) == 1 and re.search("[;\t]", columns[0]):
                advice = "separate the cells of a .csv file with commas, those of a .tsv with tabs"
            raise UserError("column", f"{place}: {number} '{name}' (columns: {found}): {advice}")


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
        open(path, "rb").close()  # its errors name the file, pyarrow's do not
    except OSError as error:
        raise file_error(error) from None
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise UserError("file-damaged", f"{path} is not a Parquet file: {error}") from None
    except OSError as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None


def read_rows(
    path: str,
    columns: Sequence[str] = (),
    label_column: str | None = None,
) -> Iterator[Row]:
    """Yield the texts of a file of lines, or of a table, lazily.

    Args:
        path: the file, or ``-`` for standard input. The suffixes of `FORMATS` name the format of a
            table; with other suffixes it is tab-separated.
        columns: none: one text per line. One or two: the columns of the text, or of the pair.
        label_column: column of the true labels.

    Raises:
        UserError: as in `open_table` and `Table.rows`; without columns: the file is a table. Blank
            lines between tab-separated rows, too.
    """
    other = Path(path).suffix.lower() in (".csv", ".jsonl", ".parquet")
    if other and not columns:
        raise UserError("column", f"{path} is a table: name the column of its texts")
    if other:
        yield from open_table(path).rows(columns, label_column)
        return
    lines = read_lines(path)
    if columns:
        yield from _with_header(_tsv_rows(lines), path).rows(columns, label_column)
    else:
        yield from (Row(line, where=where) for where, line in lines)


def read_table(
    path: str,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
) -> list[Row]:
    """Read the texts, or pairs, and labels of a table in one of `FORMATS`.

    Without ``text_column`` the texts are in "text" or "sentence".

    Raises:
        UserError: as in `open_table` and `Table.rows`.
    """
    table = open_table(path)
    usual = "sentence" if "sentence" in table.columns and "text" not in table.columns else "text"
    columns = [text_column or usual, *([text_pair_column] if text_pair_column else [])]
    return list(table.rows(columns, label_column))


def with_label_ids(
    rows: Iterable[Row], names: Sequence[str] | None, classes: int | None
) -> Iterator[Row]:
    """Yield ``rows`` with the ids of their true labels.

    A column contains either names or ids. The first row decides: if its label is one of the model's
    names, all labels are names, otherwise ids. The choice is logged.

    Args:
        rows: texts with true labels.
        names: the model's class names by label id; None if it has none.
        classes: C, the number of classes; None: the number of names.

    Raises:
        UserError: a regression model, or a label that the model does not have (with the row).
    """
    if classes == 1:
        message = "the model predicts a score, not a class: leave out the column of labels"
        raise UserError("label", message)
    ids = {str(index): index for index in range(classes or len(names or ()))}
    by_name = {name: index for index, name in enumerate(names or ())}
    allowed = {**by_name, **ids}
    for number, row in enumerate(rows):
        if row.gold not in allowed:
            labels = ", ".join(allowed)
            message = f"true label '{row.gold}' is not one of the model's: {labels}"
            raise UserError("label", f"{row.where}: {message}")
        if number == 0:
            allowed, kind = (by_name, "names") if row.gold in by_name else (ids, "ids")
            get_logger().info("true labels are %s: %s", kind, ", ".join(allowed))
        yield replace(row, label_id=allowed[row.gold])
