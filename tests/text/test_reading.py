"""Files of texts and labels: formats, line ends, quoting, columns, true labels, mistakes."""

import pytest

from convbert.text.reading import (
    FORMATS,
    Row,
    open_table,
    read_rows,
    read_table,
    with_label_ids,
)
from tests.helpers.errors import raises_code

NAMES = ["negative", "positive"]


def rows_of(tmp_path, content, columns, label_column=None):
    (tmp_path / "in.tsv").write_text(content, newline="")
    return list(read_rows(str(tmp_path / "in.tsv"), columns, label_column))


def test_columns(tmp_path):
    content = 'a\tlabel\tb\n"x\t y \t z\r\n'
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
        (["1", "0", "1"], NAMES, [1, 0, 1]),
        (["positive", "negative"], NAMES, [1, 0]),
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


@pytest.fixture(name="table")
def _table(tmp_path):
    """Return ``table(content, name)``: the columns, cells and lines of a file with this content."""

    def read(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = open_table(str(path))
        records = list(table.records)
        lines = [record.place.rpartition(" ")[2] for record in records]
        return table.columns, [record.cells for record in records], lines

    return read


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(table, end):
    content = end.join(["text,label", "good film,1", "bad film,0"])
    columns, rows, lines = table(b"\xef\xbb\xbf" + content.encode())
    assert columns == ["text", "label"]
    assert [row["text"] for row in rows] == ["good film", "bad film"]
    assert lines == ["2", "3"]


def test_csv_quotes_and_tsv_does_not(table):
    _, rows, lines = table('text,label\n"a ""fine"", long\n\nfilm",1\n')
    assert rows == [{"text": 'a "fine", long\n\nfilm', "label": "1"}]
    assert lines == ["4"]
    _, rows, _ = table('text\tlabel\na " lone quote\t1\n', "table.tsv")
    assert rows == [{"text": 'a " lone quote', "label": "1"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "\ntext, label\n\na,1\n\nb,0\n", ["4", "6"]),
        ("x.tsv", "\ntext\tlabel \n\na\t1\n\nb\t0\n", ["4", "6"]),
        ("x.jsonl", '{"text": "a", "label": "1"}\n \n{"label": "0", "text": "b"}\n', ["1", "3"]),
    ],
)
def test_blank_lines_of_a_table(table, name, content, expected):
    columns, rows, lines = table(content, name)
    assert columns == ["text", "label"]
    assert rows == [{"text": "a", "label": "1"}, {"text": "b", "label": "0"}]
    assert lines == expected


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = str(tmp_path / "table.parquet")
    parquet.write_table(pyarrow.table({"text": ["good", "bad"], "label": [1, 0]}), path)
    rows = read_table(path, label_column="label")
    assert [(row.text, row.gold) for row in rows] == [("good", "1"), ("bad", "0")]
    assert rows[1].where.endswith("table.parquet, row 2")


MISTAKES = {
    "a missing cell": ("text,label\ngood\n", "table.csv", "row", "line 2"),
    "a cell too many": ("text,label\ngood,1\nbad,film,0\n", "table.csv", "row", "line 3"),
    "an open quote": ('text,label\n"good,1\n', "table.csv", "row", "line"),
    "a repeated column": ("text,label,text\na,1,b\n", "table.csv", "column", "'text'"),
    "only a header": ("text,label\n", "table.csv", "empty-input", "table.csv"),
    "nothing": ("", "table.csv", "empty-input", "table.csv"),
    "not JSON": ('{"text": "a"}\n[1]\n', "table.jsonl", "row", "line 2"),
    "deep JSON": ("[" * 100000 + "\n", "table.jsonl", "row", "line 1"),
    "another format": ("text,label\n", "table.xlsx", "file-damaged", ".csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(tmp_path, mistake):
    content, name, code, fact = MISTAKES[mistake]
    (tmp_path / name).write_text(content)
    with raises_code(code, fact):
        read_table(str(tmp_path / name))


def test_the_inference_commands_read_every_table(tmp_path):
    (tmp_path / "in.csv").write_text('text,label\n"a, b",1\n')
    (tmp_path / "in.jsonl").write_text('{"text": "a, b", "label": 1}\n')
    for name in ("in.csv", "in.jsonl"):
        (row,) = read_rows(str(tmp_path / name), ["text"], "label")
        assert (row.text, row.gold) == ("a, b", "1")
        with raises_code("column", name):  # its lines are no texts
            list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("content", "columns", "fact"),
    [("text;label\n", ["text"], ".csv"), ("text,label\n", ["text", "text"], "'text'")],
)
def test_a_column_that_cannot_be_used(tmp_path, content, columns, fact):
    (tmp_path / "in.csv").write_text(content)
    with raises_code("column", fact):
        list(read_rows(str(tmp_path / "in.csv"), columns))


def test_an_open_quote_names_the_start_of_its_row(tmp_path):
    (tmp_path / "in.csv").write_text('text,label\n"a,1\n' + "b,2\n" * 9)
    with raises_code("row", "line 2"):
        read_table(str(tmp_path / "in.csv"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_file(tmp_path, suffix):
    with raises_code("file-missing", f"nowhere{suffix}"):
        read_table(str(tmp_path / f"nowhere{suffix}"))
