"""Tables that are scored in chunks: the output has the input's format and all its columns.

A file is read in chunks of rows. The rows of each chunk, with the answers as new last columns, are
written to a separate file, a part; `join` makes the output from all parts. Rows of CSV, TSV and
JSON lines are extended, not rewritten, so their other cells stay unchanged; blank lines are left
out and lines end with LF.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from convbert.text.processing import Prediction
from convbert.text.reading import Row
from convbert.text.tables import TextTable, check_columns, open_parquet, row_text, table_format
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_path, atomic_write

ANSWERS = ("label_id", "label", "prob")
PARTS_TOGETHER = 16  # parts in one row group of a Parquet file


@dataclass(frozen=True)
class Chunk:
    """Rows that are read, answered and written together.

    Attributes:
        name: name of its part: its number and a hash of its rows, so that a part is not reused
            after its rows have changed.
        rows: the texts.
        content: all cells, in the representation of the file's class.
        bytes: their approximate size in the file.
    """

    name: str
    rows: list[Row]
    content: Any
    bytes: int


class ScoreFile(Protocol):
    """A file to score, with its size; ``total_rows`` is None if it is not known."""

    total_rows: int | None
    total_bytes: int

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in their order, ``size`` at a time; at most one chunk is kept.

        Raises:
            UserError: as `convbert.text.tables.read_table`, or a text is missing or empty.
        """

    def write(self, path: Path, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Write the part of a chunk."""

    def join(self, parts: Sequence[Path], path: str) -> None:
        """Make the output from its parts, atomically."""


def open_score_file(path: str, columns: Sequence[str], prefix: str) -> ScoreFile:
    """Open a .csv, .tsv, .jsonl or .parquet file; the suffix gives the format.

    Args:
        path: the file.
        columns: the column of the text, or the two of a pair.
        prefix: first part of the names of the new columns, before label_id, label and prob.

    Raises:
        UserError: an unknown suffix, unreadable or damaged, a column is missing, or a new one
            exists.
    """
    opened = ParquetScoreFile if table_format(path) == ".parquet" else TextScoreFile
    return opened(path, columns, tuple(prefix + name for name in ANSWERS))


def _check(path: str, columns: Sequence[str], wanted: Sequence[str], new: Sequence[str]) -> None:
    check_columns(path, columns, wanted)
    for name in new:
        if name in columns:
            raise UserError(
                "column", f"{path} already has a column '{name}': give another --prefix"
            )


def _chunk(number: int, rows: list[Row], content: Any, data: bytes) -> Chunk:
    digest = hashlib.sha256(data).hexdigest()[:16]
    return Chunk(f"{number:08d}-{digest}", rows, content, len(data))


class TextScoreFile:
    """CSV, TSV and JSON lines."""

    total_rows = None

    def __init__(self, path: str, columns: Sequence[str], answers: Sequence[str]):
        self._path, self._columns, self._answers = path, columns, answers
        self._suffix = table_format(path)
        self._table = TextTable(path)
        if self._suffix != ".jsonl":
            _check(path, self._table.columns, columns, answers)
        self.total_bytes = os.path.getsize(path)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """See `ScoreFile`."""
        records, number = iter(self._table), 0
        while True:
            rows, lines = [], []
            for record in islice(records, size):
                text = row_text(record.cells, self._columns, record.place)
                rows.append(Row(text, where=record.place))
                if self._suffix == ".jsonl":
                    _check(record.place, list(record.cells), self._columns, self._answers)
                lines.append(record.raw)
            if not rows:
                break
            data = "".join(f"{line}\n" for line in lines).encode()
            yield _chunk(number, rows, lines, data)
            number += 1

    def write(self, path: Path, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """See `ScoreFile`."""
        with atomic_write(path) as file:
            for line, answer in zip(chunk.content, predictions):
                file.write(self._extended(line, (answer.label_id, answer.label, answer.prob)))

    def join(self, parts: Sequence[Path], path: str) -> None:
        """See `ScoreFile`."""
        with atomic_write(path, "wb") as file:
            if self._suffix != ".jsonl":
                file.write(self._extended(self._table.header, self._answers).encode())
            for part in parts:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, file)

    def _extended(self, line: str, values: Sequence[Any]) -> str:
        if self._suffix == ".jsonl":
            new = json.dumps(dict(zip(self._answers, values)), ensure_ascii=False)
            return f"{line.strip()[:-1].rstrip()}, {new[1:]}\n"
        if self._suffix == ".tsv":
            return "\t".join([line, *(_tsv_cell(value) for value in values)]) + "\n"
        cells = io.StringIO()
        csv.writer(cells, lineterminator="\n").writerow(values)
        return f"{line},{cells.getvalue()}"


def _tsv_cell(value: Any) -> str:
    return " ".join(str(value).split())  # a label name may have a tab


class ParquetScoreFile:
    """Parquet; all columns keep their types."""

    def __init__(self, path: str, columns: Sequence[str], answers: Sequence[str]):
        self._path, self._columns, self._answers = path, columns, answers
        with open_parquet(path) as file:
            names = file.schema_arrow.names
            _check(path, names, columns, answers)
            self.total_rows = file.metadata.num_rows
        self.total_bytes = os.path.getsize(path)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """See `ScoreFile`."""
        first = 1
        with open_parquet(self._path) as file:
            for number, batch in enumerate(file.iter_batches(batch_size=size)):
                texts = batch.select(list(self._columns)).to_pylist()
                rows = []
                for number_in_file, cells in enumerate(texts, start=first):
                    place = f"{self._path}, row {number_in_file}"
                    rows.append(Row(row_text(cells, self._columns, place), where=place))
                first += len(rows)
                yield _chunk(number, rows, batch, batch.serialize())

    def write(self, path: Path, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """See `ScoreFile`."""
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.Table.from_batches([chunk.content])
        types = (pyarrow.int64(), pyarrow.string(), pyarrow.float64())
        values = zip(*((p.label_id, p.label, p.prob) for p in predictions))
        for name, kind, column in zip(self._answers, types, values):
            table = table.append_column(name, pyarrow.array(column, kind))
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary)

    def join(self, parts: Sequence[Path], path: str) -> None:
        """See `ScoreFile`."""
        import pyarrow
        from pyarrow import parquet

        with atomic_path(path) as temporary:
            writer = None
            for start in range(0, len(parts), PARTS_TOGETHER):
                group = [
                    parquet.ParquetFile(part).read()
                    for part in parts[start : start + PARTS_TOGETHER]
                ]
                table = pyarrow.concat_tables(group)
                writer = writer or parquet.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
            if writer:
                writer.close()
