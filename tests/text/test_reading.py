"""Files of texts and labels: line ends, encodings, columns, true labels."""

from __future__ import annotations

import pytest

from convbert.text.reading import Row, read_lines, read_rows, with_label_ids
from tests.helpers.errors import raises_code

NAMES = ["negative", "positive"]


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
    ("content", "code", "fact"),
    [
        (b"", "empty-input", "in.txt"),
        (b"good\rna\xefve\r", "encoding", "line 2 is not UTF-8 (byte 3)"),
        ("\u00e9t\u00e9\n".encode() * 9000 + b"\xff\n", "encoding", "line 9001"),
        (b"\xed\xa0\x80", "encoding", "line 1"),  # a surrogate, as some converters write them
        ("good\nbad\n".encode("utf-16"), "encoding", "UTF-16"),
        ("good\nbad\n".encode("utf-16-le"), "encoding", "UTF-16"),
        ("good\nbad\n".encode("utf-16-be"), "encoding", "UTF-16"),
        ("\u597d\n".encode("utf-16"), "encoding", "UTF-16"),
    ],
)
def test_a_file_that_is_not_utf8(tmp_path, content, code, fact):
    (tmp_path / "in.txt").write_bytes(content)
    with raises_code(code, fact):
        list(read_lines(str(tmp_path / "in.txt")))


def test_a_file_that_cannot_be_read(tmp_path):
    with raises_code("file-unreadable", "--calib_file", tmp_path):
        list(read_lines(str(tmp_path), "--calib_file"))


def rows_of(tmp_path, content, columns, label_column=None):
    (tmp_path / "in.tsv").write_text(content, newline="")
    return list(read_rows(str(tmp_path / "in.tsv"), columns, label_column))


def test_columns(tmp_path):
    content = 'a\tlabel\tb\n"x\ty\t z\r\n'
    single, pair = (rows_of(tmp_path, content, c, "label") for c in (["a"], ["b", "a"]))
    assert [(row.text, row.gold) for row in single] == [('"x', "y")]
    assert [row.text for row in pair] == [(" z", '"x')]
    assert single[0].where.endswith("in.tsv, line 2")


@pytest.mark.parametrize(
    ("content", "code", "fact"),
    [
        ("a\tlabel\n", "empty-input", "line 1"),
        ("a\n", "column", "'label'"),
        ("a\tlabel\tlabel\nx\t0\t1\n", "column", "'label'"),
        ("a\tlabel\nx\t0\nx\n", "row", "line 3"),
        ("a\tlabel\nx\t0\n\n", "row", "line 3"),
    ],
)
def test_wrong_columns(tmp_path, content, code, fact):
    with raises_code(code, fact):
        rows_of(tmp_path, content, ["a"], "label")


def ids_of(labels, names=NAMES, classes=2):
    rows = [Row("x", gold, f"row {n}") for n, gold in enumerate(labels, start=1)]
    return [row.label_id for row in with_label_ids(rows, names, classes)]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["1", " 0 ", "1"], NAMES, [1, 0, 1]),
        (["positive", "negative "], NAMES, [1, 0]),
        (["1", "0"], None, [1, 0]),
        (["1", "0"], ["1", "0"], [0, 1]),  # the names of the model
    ],
)
def test_true_labels_are_ids_or_names(labels, names, expected):
    assert ids_of(labels, names) == expected


@pytest.mark.parametrize(
    ("labels", "row", "allowed"),
    [
        (["1.0"], 1, "negative, positive, 0, 1"),
        (["-1"], 1, "negative, positive, 0, 1"),
        (["\u0661"], 1, "0, 1"),  # a digit of another script
        (["Positive"], 1, "positive"),
        (["1", "2"], 2, "0, 1"),
        (["1", "0", "positive"], 3, "0, 1"),
        (["positive", "1"], 2, "negative, positive"),
        (["0", ""], 2, "0, 1"),
    ],
)
def test_an_unknown_true_label(labels, row, allowed):
    with raises_code("label", f"row {row}", allowed):
        ids_of(labels)


def test_a_score_has_no_true_labels():
    with raises_code("label"):
        ids_of(["1"], None, 1)
