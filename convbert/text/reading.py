"""Reading texts, one a line, for whatever labels them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from paddlenlp.utils.errors import UserError


def read_lines(path: str, flag: str = "--input_file") -> Iterator[tuple[str, str]]:
    """Yield where each line of a UTF-8 file stands, for messages, and its text.

    Args:
        path: the file, or ``-`` for standard input.
        flag: what the user gave it with.

    Raises:
        UserError: unreadable, empty, or not UTF-8 (with the line).
    """
    name = "standard input" if path == "-" else path
    try:
        file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise UserError("file-unreadable", f"cannot read {flag} {path}: {error.strerror}") from None
    empty = True
    with file:
        for number, raw in enumerate(file, start=1):
            where = f"{name}, line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    "encoding", f"{where} is not UTF-8 (byte {error.start + 1}): convert the file"
                ) from None
            empty = False
            yield where, line.rstrip("\r\n")
    if empty:
        raise UserError("empty-input", f"{name} is empty: give one text a line")


def require_words(where: str, text: str) -> None:
    """Raise `UserError` for a text without a word."""
    if not text.strip():
        raise UserError("text", f"{where} is empty: give at least one word")
