"""Tables of texts and labels: formats, line ends, quoting, and one clear error per mistake."""

import pytest

from convbert.text.tables import read_table
from tests.helpers.errors import raises_code


@pytest.fixture(name="table")
def _table(tmp_path):
    """Return ``table(content, name)``: read a file with this content."""

    def read(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(str(path))

    return read


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(table, end):
    content = end.join(["text,label", "good film,1", "bad film,0"])
    found = table(b"\xef\xbb\xbf" + content.encode())
    assert found.columns == ["text", "label"]
    assert [row["text"] for row in found.rows] == ["good film", "bad film"]
    assert [place.rpartition(" ")[2] for place in found.places] == ["2", "3"]


def test_csv_quotes_and_tsv_does_not(table):
    quoted = table('text,label\n"a ""fine"", long\nfilm",1\n')
    assert quoted.rows == [{"text": 'a "fine", long\nfilm', "label": "1"}]
    assert quoted.places[0].endswith("line 3")
    plain = table('text\tlabel\na " lone quote\t1\n', "table.tsv")
    assert plain.rows == [{"text": 'a " lone quote', "label": "1"}]


def test_json_lines(table):
    found = table('{"text": "good", "label": 1}\n\n{"label": 0, "text": "bad"}\n', "table.jsonl")
    assert found.rows == [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]
    assert [place.rpartition(" ")[2] for place in found.places] == ["1", "3"]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = str(tmp_path / "table.parquet")
    parquet.write_table(pyarrow.table({"text": ["good"], "label": [1]}), path)
    assert read_table(path).rows == [{"text": "good", "label": 1}]


MISTAKES = {
    "a missing cell": ("text,label\ngood\n", "table.csv", "row", "line 2"),
    "a cell too many": ("text,label\ngood,1\nbad,film,0\n", "table.csv", "row", "line 3"),
    "an open quote": ('text,label\n"good,1\n', "table.csv", "row", "line"),
    "a repeated column": ("text,label,text\na,1,b\n", "table.csv", "column", "'text'"),
    "only a header": ("text,label\n", "table.csv", "empty-input", "table.csv"),
    "nothing": ("", "table.csv", "empty-input", "table.csv"),
    "Latin-1": (
        "text,label\nfine,1\ncaf\xe9,0\n".encode("latin-1"),
        "table.csv",
        "encoding",
        "line 3",
    ),
    "not JSON": ('{"text": "a"}\n[1]\n', "table.jsonl", "row", "line 2"),
    "deep JSON": ("[" * 100000 + "\n", "table.jsonl", "row", "line 1"),
    "another format": ("text,label\n", "table.xlsx", "file-damaged", ".csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(table, mistake):
    content, name, code, fact = MISTAKES[mistake]
    with raises_code(code, fact):
        table(content, name)


def test_a_missing_file(tmp_path):
    with raises_code("file-unreadable", "nowhere.csv"):
        read_table(str(tmp_path / "nowhere.csv"))
