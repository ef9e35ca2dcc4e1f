"""Texts, tables, and the configurations of the service and of TIPC."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from convbert.serving.config import load_settings
from convbert.text.reading import open_table, read_rows, read_table
from tests.helpers.tipc import CPU_CONFIG
from tests.properties.bounds import bounded, read_or_refused, words

CELLS = st.lists(words, min_size=1, max_size=3).map("\t".join)
LINES = st.lists(CELLS, max_size=6).map(lambda lines: "\n".join(["a\tb", *lines]))
CONTENTS = st.binary(max_size=200) | LINES.map(lambda text: text.encode("utf-8", "surrogatepass"))


@bounded
@given(CONTENTS, st.sampled_from([(), ("a",), ("a", "b")]))
def test_tsv(tmp_path, content, columns):
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    rows = read_or_refused(lambda: list(read_rows(str(path), columns)))
    assert rows is None or all(row.where for row in rows)


@bounded
@given(CONTENTS, st.sampled_from([".tsv", ".csv", ".jsonl", ".parquet"]))
def test_tables(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    read_or_refused(lambda: read_table(str(path)))


def test_a_table_with_many_columns(tmp_path):
    path, row = tmp_path / "x.csv", ",".join(map(str, range(30_000)))
    path.write_text(f"{row}\n{row}\n", encoding="utf-8")
    assert len(read_or_refused(lambda: open_table(str(path))).columns) == 30_000
    assert len(read_or_refused(lambda: read_table(str(path), "0", "29999"))) == 1


CONFIG = Path("deploy/serving_python/config.yml")
YAML = st.one_of(
    st.sampled_from(["*a", "&a [*a]", "!!timestamp x", "2001-99-99", "0b_", "1:61", "[" * 3000]),
    st.sampled_from(["{a: 1, a: 2}", "? [1]\n: 2", "1e999", ".nan", "-.inf", "<<: 1", "\t", "@"]),
    st.integers().map(str),
    words.filter(lambda text: "\ud800" not in text),
)


@bounded
@given(st.data())
def test_service_configuration(tmp_path, repo_root, data):
    text = (repo_root / CONFIG).read_text(encoding="utf-8")
    places = [match.span(1) for match in re.finditer(r":[ ]*([^\n#]*)", text)]
    start, end = data.draw(st.sampled_from(places))
    path = tmp_path / "config.yml"
    path.write_text(text[:start] + " " + data.draw(YAML) + text[end:], encoding="utf-8")
    read_or_refused(lambda: load_settings(str(path), model_dir=str(tmp_path)))


@bounded
@given(YAML | st.binary(max_size=50).map(lambda data: data.decode("latin-1")), st.booleans())
def test_service_overrides(repo_root, value, known):
    override = f"{'dag.use_profile' if known else value}={value}"
    read_or_refused(lambda: load_settings(str(repo_root / CONFIG), [override], model_dir="x"))


@bounded
@given(st.data())
def test_tipc_configuration(tmp_path, data):
    from tipc.config import read_config  # `tests.helpers.tipc` puts its folder on the path

    lines = CPU_CONFIG.read_text(encoding="utf-8").splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    key = lines[number].partition(":")[0]
    value = data.draw(words | st.sampled_from(["'", "a|b=c|", "lite_train_lite_infer=", "-m 'x"]))
    lines[number] = data.draw(st.sampled_from([f"{key}:{value}", value, ""]))
    path = tmp_path / "config.txt"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    config = read_or_refused(lambda: read_config(str(path), "train_infer", "lite_train_lite_infer"))
    for name in config.entries if config else ():
        read_or_refused(lambda name=name: config.values(name))
