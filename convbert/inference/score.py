"""Scoring a table of any size with bounded memory; a killed job can be continued.

Each chunk of rows becomes a part in the folder OUTPUT.parts. Parts are written atomically, and
their names contain a hash of their rows; a later call with the same settings skips existing parts.
At the end the parts are joined into the output.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from convbert.inference.classify import classify
from convbert.inference.engines import EngineOptions
from convbert.inference.exported import open_exported
from convbert.inference.score_files import Chunk, ScoreFile
from convbert.text.processing import Prediction
from convbert.text.reading import Row
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import UNFINISHED, ensure_writable_dir, exclusive, write_json
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.parsing import read_json_file

SETTINGS_FILE = "settings.json"
LOCK_FILE = "lock"
PART = re.compile(r"\d{8}-[0-9a-f]{16}")
# Maps chunks to chunks with their answers, in the same order.
Answer = Callable[[Iterator[Chunk]], Iterable[tuple[Chunk, Sequence[Prediction]]]]


@dataclass(frozen=True)
class ScorerSettings:
    """The settings of an engine, on this or another machine; see `open_exported`."""

    model_dir: str
    options: EngineOptions = EngineOptions()
    max_seq_len: int | None = None
    batch_size: int = 32


class Scorer:
    """Answers rows with one engine; every worker runs it."""

    def __init__(self, settings: ScorerSettings):
        self._engine, self._processor = open_exported(
            settings.model_dir, settings.options, settings.max_seq_len
        )
        self._batch_size = settings.batch_size

    def __call__(self, rows: Sequence[Row]) -> list[Prediction]:
        """Return the answers in the order of the rows."""
        answered = classify(rows, self._processor, self._engine.run, self._batch_size)
        return [prediction for _, prediction in answered]

    def answer(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Prediction]]]:
        """Answer chunks one by one; this is an `Answer`."""
        return ((chunk, self(chunk.rows)) for chunk in chunks)


@dataclass
class Progress:
    """Rows answered by this call and by earlier ones, and seconds of this call."""

    answered: int = 0
    earlier: int = 0
    seconds: float = 0.0


@contextmanager
def parts_of(output: str, settings: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder of the parts of ``output``, locked; make it if it is missing.

    Args:
        output: the file into which the parts will be joined.
        settings: JSON values that determine the content of a part; the same in every call.

    Raises:
        UserError: another process uses it, it belongs to other settings, or it is not a folder of
            parts.
    """
    folder = Path(f"{output}.parts")
    known = folder / SETTINGS_FILE
    if folder.is_dir() and not known.is_file():
        begun = {path.name for path in folder.iterdir() if path.suffix != UNFINISHED}
        if begun - {LOCK_FILE}:
            raise UserError("occupied", f"{folder} is not a folder of parts: move it away")
    ensure_writable_dir(folder)
    with exclusive(folder / LOCK_FILE, f"another process is scoring to {output}: wait for it"):
        for left in folder.glob(".*"):
            if left.suffix == UNFINISHED:  # of a killed call
                left.unlink()
        if known.is_file():
            _compare(known, settings)
        else:
            write_json(known, settings)
        try:
            yield folder
        finally:
            if not any(PART.fullmatch(path.name) for path in folder.iterdir()):
                for name in (SETTINGS_FILE, LOCK_FILE):
                    (folder / name).unlink(missing_ok=True)
                with suppress(OSError):  # it contains other files
                    folder.rmdir()


def _compare(known: Path, settings: dict[str, Any]) -> None:
    try:
        before = read_json_file(known)
        changed = [name for name in settings if before[name] != settings[name]]
    except (ValueError, KeyError, TypeError):
        raise UserError("file-damaged", f"{known} is damaged: remove its folder") from None
    if changed:
        raise UserError(
            "resume",
            f"{known.parent} was started with other settings ({', '.join(changed)}): use the same, "
            "or remove that folder to start again",
        )


def score(file: ScoreFile, answer: Answer, folder: Path, output: str, chunk_rows: int) -> Progress:
    """Answer the chunks without a part, then make the output and remove the parts.

    Raises:
        UserError: a row cannot be read or answered; the parts before it are kept.
    """
    progress, parts, start = Progress(), [], time.perf_counter()

    def without_part() -> Iterator[Chunk]:
        seen_rows = seen_bytes = 0
        for chunk in file.chunks(chunk_rows):
            rows = len(chunk.rows)
            parts.append(folder / chunk.name)
            seen_rows, seen_bytes = seen_rows + rows, seen_bytes + chunk.bytes
            if file.total_rows is None:  # estimated from the bytes so far
                bar.total = max(seen_rows, round(seen_rows * file.total_bytes / seen_bytes))
            if not parts[-1].exists():
                yield chunk
                continue
            if not progress.earlier:
                get_logger().info("continuing after the rows of an earlier call")
            progress.earlier += rows
            if not bar.disable:
                bar.initial += rows  # not counted in rows/s
            bar.update(rows)

    with tqdm(total=file.total_rows, unit="row", disable=None, dynamic_ncols=True) as bar:
        for chunk, predictions in answer(without_part()):
            file.write(folder / chunk.name, chunk, predictions)
            progress.answered += len(chunk.rows)
            bar.update(len(chunk.rows))
    if not parts:
        raise UserError("empty-input", "the input has no rows: add some")
    file.join(parts, output)
    progress.seconds = time.perf_counter() - start
    for path in folder.iterdir():
        if PART.fullmatch(path.name):
            path.unlink()
    return progress


def check_output(output: str, source: str, overwrite: bool) -> None:
    """Check the output path before any work.

    Raises:
        UserError: it has a different format, or exists and may not be replaced.
    """
    suffix = Path(source).suffix
    if Path(output).suffix.lower() != suffix.lower():
        raise UserError(
            "command-line", f"the output has the input's format: its name must end in {suffix}"
        )
    # If there is a folder of parts, the call that started it was allowed to write here.
    if os.path.exists(output) and not overwrite and not os.path.isdir(f"{output}.parts"):
        raise UserError("occupied", f"{output} exists: give another file, or --overwrite")
    ensure_writable_dir(Path(os.path.realpath(output)).parent)
