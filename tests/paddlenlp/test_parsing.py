"""JSON and YAML of others: what is refused."""

import pytest

from paddlenlp.utils import parsing
from paddlenlp.utils.parsing import parse_json, parse_yaml, read_json_file

BAD_JSON = ["", "{", "[NaN]", "[-Infinity]", "1e999", '{"a": 1, "a": 1}', "[" * 10**5]


@pytest.mark.parametrize("text", [*BAD_JSON, "[" * 66 + "]" * 66, "1" * 5000])
def test_json_that_is_refused(text):
    with pytest.raises(ValueError, match="."):
        parse_json(text)


def test_json_that_is_read():
    assert parse_json('{"a": [1.5, null, "\\u00e9"]}') == {"a": [1.5, None, "é"]}
    parse_json("[" * 60 + "]" * 60)


def test_a_large_json_file_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(parsing, "MAX_JSON_BYTES", 10)
    (tmp_path / "x.json").write_text("[1, 2, 3, 4]")
    with pytest.raises(ValueError, match="10"):
        read_json_file(tmp_path / "x.json")


BAD_YAML = {
    "an alias": "a: &x [1]\nb: *x",
    "an endless alias": "&a [*a]",
    "a tag": "a: !!python/object/apply:os.getcwd []",
    "a date that does not exist": "2001-99-99",
    "a number without digits": "0b_",
    "a key twice": "a: 1\na: 2",
    "a list as a key": "? [1]\n: 2",
    "deep nesting": "[" * 5000,
    "more text than a configuration has": "#" * 20000,
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_that_is_refused(case):
    pytest.importorskip("yaml")
    with pytest.raises(ValueError, match=".") as caught:
        parse_yaml(BAD_YAML[case])
    assert "\n" not in str(caught.value)


def test_yaml_that_is_read():
    pytest.importorskip("yaml")
    assert parse_yaml("a:\n  b: 1\n  c: [x, true]  # comment\n") == {
        "a": {"b": 1, "c": ["x", True]}
    }
