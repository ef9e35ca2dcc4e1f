"""The lines of text files: line ends, byte order mark, encodings."""

import pytest

from paddlenlp.utils.lines import read_lines
from tests.helpers.errors import raises_code


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_line_end_and_the_byte_order_mark(tmp_path, end, last, mark):
    texts = ["good\u2028film", "b\u00e4d\x0bfilm \U0001f600", "a \ufefffilm"]
    content = mark + end.join(texts) + (end if last else "")
    (tmp_path / "in.txt").write_bytes(content.encode())
    assert [line for _, line in read_lines(str(tmp_path / "in.txt"))] == texts


def test_lines_know_their_places(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"good\rbad\r\n\nfine")
    places = [where.rpartition(", ")[2] for where, _ in read_lines(str(tmp_path / "in.txt"))]
    assert places == ["line 1", "line 2", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("content", "code", "facts"),
    [
        (b"", "empty-input", ["in.txt"]),
        (b"good\rna\xefve\r", "encoding", ["line 2", "byte 3"]),
        ("\u00e9t\u00e9\n".encode() * 9000 + b"\xff\n", "encoding", ["line 9001"]),
        (b"\xed\xa0\x80", "encoding", ["line 1"]),  # a surrogate, as some converters write them
        ("good\nbad\n".encode("utf-16"), "encoding", ["UTF-16"]),
        ("good\nbad\n".encode("utf-16-le"), "encoding", ["UTF-16"]),
        ("good\nbad\n".encode("utf-16-be"), "encoding", ["UTF-16"]),
        ("\u597d\n".encode("utf-16"), "encoding", ["UTF-16"]),
    ],
)
def test_a_file_that_is_not_utf8(tmp_path, content, code, facts):
    (tmp_path / "in.txt").write_bytes(content)
    with raises_code(code, *facts):
        list(read_lines(str(tmp_path / "in.txt")))


def test_a_file_that_cannot_be_read(tmp_path):
    with raises_code("file-unreadable", tmp_path):
        list(read_lines(str(tmp_path)))
