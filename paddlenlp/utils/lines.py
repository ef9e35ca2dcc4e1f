"""The lines of a text file, read in the same way everywhere.

Files are UTF-8, with or without a byte order mark; a line ends with LF, CRLF or CR.
"""

import codecs
import io
import sys
from collections.abc import Iterator

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import file_error


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield the place of each line of a UTF-8 file, for error messages, and its text.

    Args:
        path: the file, or ``-`` for standard input.

    Raises:
        UserError: the file is unreadable, empty, or not UTF-8 (with the line).
    """
    name = "standard input" if path == "-" else path
    try:
        file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise file_error(error) from None
    number = 0
    with file:
        # Undecodable bytes become lone surrogates, so that the error can name the line.
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline=None)
        for number, raw in enumerate(text, start=1):
            where, line = f"{name}, line {number}", raw.removesuffix("\n")
            if number == 1:
                _refuse_utf16(line, name)
                line = line.removeprefix("\ufeff")
            if not line.isascii():
                _check_utf8(line, where)
            yield where, line
    if not number:
        raise UserError("empty-input", f"{name} is empty: give a file with texts")


def _refuse_utf16(line: str, name: str) -> None:
    start = line[:4].encode("utf-8", "surrogateescape")
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or line.count("\0") * 3 > len(line):
        advice = "convert it with iconv -f UTF-16 -t UTF-8"
        raise UserError("encoding", f"{name} is UTF-16, not UTF-8: {advice}")


def _check_utf8(line: str, where: str) -> None:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = len(line[: error.start].encode("utf-8")) + 1
        message = f"{where} is not UTF-8 (byte {byte}): convert the file to UTF-8"
        raise UserError("encoding", message) from None
