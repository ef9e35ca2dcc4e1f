"""Tables that are scored in chunks: the output has the input's format and all its columns.

A file is read in chunks of rows. The rows of each chunk, with the answers as new last columns, are
written to a separate file, a part; `join` makes the output from all parts. Rows of CSV, TSV and
JSON lines are extended, not rewritten, so their other cells stay unchanged; blank lines are left
out and lines end with LF.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from convbert.text.processing import Prediction
from convbert.text.reading import Record, Row, check_columns, open_parquet, open_table
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


class ScoreFile:
    """A file to score. Its classes have ``chunks``, ``write`` and ``join``.

    Args:
        path: the file.
        columns: the column of the text, or the two of a pair.
        prefix: first part of the names of the new columns, before label_id, label and prob.

    Raises:
        UserError: as in `open_table`; a column is missing, or a new one exists. While reading
            chunks: also as in `Record.row`.
    """

    def __init__(self, path: str, columns: Sequence[str], prefix: str):
        self.table = open_table(path)
        self.path, self.columns, self.suffix = path, columns, Path(path).suffix.lower()
        self.answers = [prefix + name for name in ANSWERS]
        self.total_bytes, self.total_rows = os.path.getsize(path), self.table.total_rows
        if self.suffix != ".jsonl":
            self.check(self.table.columns, self.table.place)

    def check(self, names: Sequence[str], place: str) -> None:
        """Check the columns of the table, or of a row of JSON."""
        check_columns(place, names, self.columns)
        for name in set(names).intersection(self.answers):
            raise UserError(
                "column", f"{place} already has a column '{name}': give another --prefix"
            )


def _chunk(number: int, rows: list[Row], content: Any, data: bytes) -> Chunk:
    digest = hashlib.sha256(data).hexdigest()[:16]
    return Chunk(f"{number:08d}-{digest}", rows, content, len(data))


class TextScoreFile(ScoreFile):
    """CSV, TSV and JSON lines."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in their order, ``size`` at a time; at most one chunk is kept."""
        for number in count():
            rows, lines = [], []
            for record in islice(self.table.records, size):
                rows.append(record.row(self.columns))
                if self.suffix == ".jsonl":
                    self.check(list(record.cells), record.place)
                lines.append(record.raw)
            if not rows:
                return
            data = "".join(f"{line}\n" for line in lines).encode()
            yield _chunk(number, rows, lines, data)

    def write(self, path: Path, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Write the part of a chunk."""
        with atomic_write(path) as file:
            for line, answer in zip(chunk.content, predictions):
                file.write(self._extended(line, (answer.label_id, answer.label, answer.prob)))

    def join(self, parts: Sequence[Path], path: str) -> None:
        """Make the output from its parts, atomically."""
        with atomic_write(path, "wb") as file:
            if self.suffix != ".jsonl":
                file.write(self._extended(self.table.header, self.answers).encode())
            for part in parts:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, file)

    def _extended(self, line: str, values: Sequence[Any]) -> str:
        if self.suffix == ".jsonl":
            new = json.dumps(dict(zip(self.answers, values)), ensure_ascii=False)
            return f"{line.strip()[:-1].rstrip()}, {new[1:]}\n"
        if self.suffix == ".tsv":
            cells = [" ".join(str(value).split()) for value in values]  # a label may have a tab
            return "\t".join([line, *cells]) + "\n"
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerow(values)
        return f"{line},{file.getvalue()}"


class ParquetScoreFile(ScoreFile):
    """Parquet; all columns keep their types."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """See `TextScoreFile`."""
        numbers = count(1)
        with open_parquet(self.path) as file:
            for number, batch in enumerate(file.iter_batches(batch_size=size)):
                texts = batch.select(list(self.columns)).to_pylist()
                records = [Record(cells, f"{self.path}, row {next(numbers)}") for cells in texts]
                rows = [record.row(self.columns) for record in records]
                yield _chunk(number, rows, batch, batch.serialize())

    def write(self, path: Path, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """See `TextScoreFile`."""
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.Table.from_batches([chunk.content])
        types = (pyarrow.int64(), pyarrow.string(), pyarrow.float64())
        for name, new, kind in zip(ANSWERS, self.answers, types):
            values = [getattr(prediction, name) for prediction in predictions]
            table = table.append_column(new, pyarrow.array(values, kind))
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary)

    def join(self, parts: Sequence[Path], path: str) -> None:
        """See `TextScoreFile`."""
        import pyarrow
        from pyarrow import parquet

        schema = parquet.read_schema(parts[0])
        with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            for start in range(0, len(parts), PARTS_TOGETHER):
                together = parts[start : start + PARTS_TOGETHER]
                tables = [parquet.ParquetFile(part).read() for part in together]
                writer.write_table(pyarrow.concat_tables(tables))


def open_score_file(path: str, columns: Sequence[str], prefix: str) -> ScoreFile:
    """Open a .csv, .tsv, .jsonl or .parquet file; the suffix gives the format. See `ScoreFile`."""
    kind = ParquetScoreFile if Path(path).suffix.lower() == ".parquet" else TextScoreFile
    return kind(path, columns, prefix)
