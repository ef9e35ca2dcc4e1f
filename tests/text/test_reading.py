"""Files of texts and labels: columns and true labels."""

from __future__ import annotations

import pytest

from convbert.text.reading import Row, read_rows, with_label_ids
from tests.helpers.errors import raises_code

NAMES = ["negative", "positive"]


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
