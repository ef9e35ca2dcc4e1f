"""Scoring tables: nothing lost, doubled, reordered or changed, whatever happens in the middle."""

import re
import signal

import pytest

from convbert.inference.engines import installed
from convbert.inference.exported import open_exported
from convbert.inference.score import SETTINGS_FILE, check_output, parts_of, score
from convbert.inference.score_files import open_score_file
from convbert.text.processing import Prediction
from paddlenlp.utils.files import UNFINISHED
from tests.conftest import start_script
from tests.helpers.errors import raises_code
from tests.helpers.waiting import wait_while_running

SCORE = "tools/score.py"
NEW = ("predicted_label_id", "predicted_label", "predicted_prob")
# Each with cells that a reader and writer of its own would change.
TABLES = {
    "in.csv": (
        b'\xef\xbb\xbfid,"text",note\r\n'
        b'001,"a ""fine"", long\nfilm",1.10\r\n\r\n2,bad,"x"\r\n3,dull,\r\n',
        b'id,"text",note,predicted_label_id,predicted_label,predicted_prob\n'
        b'001,"a ""fine"", long\nfilm",1.10,1,"go,od",0.5\n2,bad,"x",0,bad,0.25\n'
        b'3,dull,,0,bad,0.25\n',
    ),
    "in.tsv": (
        b'id\ttext\n001\ta " fine film\n2\tb\xc3\xa4d\n3\tdull',
        b"id\ttext\tpredicted_label_id\tpredicted_label\tpredicted_prob\n"
        b'001\ta " fine film\t1\tgo,od\t0.5\n2\tb\xc3\xa4d\t0\tbad\t0.25\n3\tdull\t0\tbad\t0.25\n',
    ),
    "in.jsonl": (
        b'{"text": "fine", "x": 1.10, "y": 1E2}\n\n'
        b' {"text":"b\\u00e4d"} \n{"text": "dull", "x": []}\n',
        b'{"text": "fine", "x": 1.10, "y": 1E2, "predicted_label_id": 1, "predicted_label": '
        b'"go,od", "predicted_prob": 0.5}\n'
        b'{"text":"b\\u00e4d", "predicted_label_id": 0, "predicted_label": "bad", '
        b'"predicted_prob": 0.25}\n'
        b'{"text": "dull", "x": [], "predicted_label_id": 0, "predicted_label": "bad", '
        b'"predicted_prob": 0.25}\n',
    ),
}  # fmt: skip


def judge(chunks):
    """Answers that depend on the text alone."""
    for chunk in chunks:
        answers = {True: Prediction(1, 0.5, "go,od"), False: Prediction(0, 0.25, "bad")}
        yield chunk, [answers["fine" in row.text] for row in chunk.rows]


def run(path, output, answer=judge, size=2, settings=None):
    """Score with one call, as the script does."""
    file = open_score_file(str(path), ["text"], "predicted_")
    with parts_of(str(output), settings or {"engine": "x"}) as folder:
        return score(file, answer, folder, str(output), size)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_other_cells_stay_as_they_are(tmp_path, name, size):
    given, expected = TABLES[name]
    (tmp_path / name).write_bytes(given)
    progress = run(tmp_path / name, tmp_path / f"out.{name}", size=size)
    assert (tmp_path / f"out.{name}").read_bytes() == expected
    assert (progress.answered, progress.earlier) == (3, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"out.{name}"]


def test_parquet_keeps_types_and_order(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    count = 50
    table = pyarrow.table(
        {
            "when": pyarrow.array(range(count), pyarrow.timestamp("ms")),
            "text": [f"{'fine' if n % 3 else 'bad'} {n}" for n in range(count)],
            "tags": [[n] * (n % 3) for n in range(count)],
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet", size=4).answered == count
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.drop_columns(list(NEW)) == table
    assert found.column_names[3:] == list(NEW)
    assert found["predicted_label_id"].to_pylist() == [int(bool(n % 3)) for n in range(count)]


def stop_after(count):
    """Answers that fail after ``count`` chunks."""

    def answer(chunks):
        for number, answered in enumerate(judge(chunks)):
            if number == count:
                raise RuntimeError
            yield answered

    return answer


@pytest.mark.parametrize("name", TABLES)
def test_a_later_call_answers_only_what_is_missing(tmp_path, name):
    (tmp_path / name).write_bytes(TABLES[name][0])
    output = tmp_path / f"out.{name}"
    with pytest.raises(RuntimeError):
        run(tmp_path / name, output, stop_after(2), size=1)
    assert not output.exists()
    parts = tmp_path / f"out.{name}.parts"
    (parts / f".00000002-0123456789abcdef.1{UNFINISHED}").write_text("half a li")
    progress = run(tmp_path / name, output, size=1)
    assert (progress.answered, progress.earlier) == (1, 2)
    assert output.read_bytes() == TABLES[name][1]
    assert not parts.exists()


def test_a_call_killed_at_its_very_beginning(tmp_path):
    parts = tmp_path / "out.tsv.parts"
    parts.mkdir()
    (parts / f".{SETTINGS_FILE}.1{UNFINISHED}").write_text("{")
    (tmp_path / "in.tsv").write_text("text\nfine 1\n")
    assert run(tmp_path / "in.tsv", tmp_path / "out.tsv").answered == 1
    assert not parts.exists()


def test_changed_rows_are_answered_again(tmp_path):
    table, output = tmp_path / "in.tsv", tmp_path / "out.tsv"
    table.write_text("text\nfine 1\nfine 2\nfine 3\n")
    with pytest.raises(RuntimeError):
        run(table, output, stop_after(2), size=1)
    table.write_text("text\nfine 1\nnew 2\nfine 3\n")
    assert run(table, output, size=1).earlier == 1
    assert [line.split("\t")[:2] for line in output.read_text().splitlines()[1:]] == [
        ["fine 1", "1"],
        ["new 2", "0"],
        ["fine 3", "1"],
    ]


def test_parts_of_other_settings_or_of_others_are_refused(tmp_path):
    table, output = tmp_path / "in.tsv", tmp_path / "out.tsv"
    table.write_text("text\nfine 1\nfine 2\n")
    with pytest.raises(RuntimeError):
        run(table, output, stop_after(1), size=1)
    with raises_code("resume", "engine"):
        run(table, output, settings={"engine": "y"})
    with parts_of(str(output), {"engine": "x"}), raises_code("busy"):
        with parts_of(str(output), {"engine": "x"}):
            pass
    mine = tmp_path / "other.tsv.parts"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    with raises_code("occupied"):
        run(table, tmp_path / "other.tsv")
    assert (mine / "thesis.txt").read_text() == "mine"


def test_where_the_output_may_go(tmp_path):
    source, output = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("text\na\n")
    check_output(str(output), str(source), overwrite=False)
    output.write_text("earlier")
    with raises_code("occupied"):
        check_output(str(output), str(source), overwrite=False)
    check_output(str(output), str(source), overwrite=True)
    with raises_code("command-line", ".tsv"):
        check_output(str(tmp_path / "out.csv"), str(source), overwrite=False)


def test_a_mistake_before_the_first_part_can_be_corrected(tmp_path):
    def fail(settings):
        with parts_of(str(tmp_path / "out.tsv"), settings):
            raise KeyError

    for columns in (["a"], ["b"]):
        with pytest.raises(KeyError):
            fail({"columns": columns})
        assert list(tmp_path.iterdir()) == []


MISTAKES = {
    "no such column": ("in.tsv", "words\na\n", "column", "'text'"),
    "an answer's column": ("in.csv", "text,predicted_prob\na,1\n", "column", "'predicted_prob'"),
    "an answer's key": ("in.jsonl", '{"text": "a", "predicted_prob": 1}\n', "column", "line 1"),
    "an empty text": ("in.tsv", "text\tx\na\t1\n\t2\n", "text", "line 3"),
    "not a text": ("in.jsonl", '{"text": "a"}\n{"text": 3}\n', "text", "line 2"),
    "a missing cell": ("in.csv", "text,x\na,1\nb\n", "row", "line 3"),
    "an open quote": ("in.csv", 'text,x\na,1\n"b,1\n', "row", "line"),
    "only a header": ("in.tsv", "text\n", "empty-input", ""),
    "another form": ("in.xlsx", "text\n", "file-damaged", ".csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(tmp_path, mistake):
    name, content, code, fact = MISTAKES[mistake]
    (tmp_path / name).write_text(content)
    with raises_code(code, fact):
        run(tmp_path / name, tmp_path / f"out.{name}", size=1)
    assert not (tmp_path / f"out.{name}").exists()


def test_a_killed_job_goes_on(run_script, tiny_export, tmp_path):
    words = ("good", "bad", "dull", "fine", "not a great film")
    lines = [f"{n}\tthe {words[n % 5]} {words[n % 3]} story" for n in range(6000)]
    (tmp_path / "in.tsv").write_text("\n".join(["id\tsentence", *lines]))
    flags = [SCORE, "--model_dir", str(tiny_export), "--input_file", "in.tsv"]
    flags += ["--output_file", "out.tsv", "--rows_per_part", "50", "--cpu_threads", "1"]
    flags += ["--engine", "openvino" if installed("openvino") else "paddle"]
    process = start_script(*flags, cwd=tmp_path)
    parts = tmp_path / "out.tsv.parts"
    wait_while_running(lambda: len(list(parts.glob("0*"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out.tsv").exists()
    done = run_script(*flags)
    assert done.returncode == 0, done.stderr
    rows, earlier = map(int, re.findall(r"\d+", done.stdout.splitlines()[0]))
    assert rows == len(lines)
    assert 3 * 50 <= earlier < len(lines)
    assert "\r" not in done.stderr  # no progress bar outside a terminal
    header, *found = (tmp_path / "out.tsv").read_text().splitlines()
    assert header.split("\t") == ["id", "sentence", *NEW]
    assert [line.rsplit("\t", 3)[0] for line in found] == lines
    assert not (tmp_path / "out.tsv.parts").exists()
    engine, processor = open_exported(str(tiny_export))
    for line in found[::500]:
        _, text, label_id, label, prob = line.split("\t")
        expected = processor.decode(engine.run(*processor.collate(processor.encode([text]))))[0]
        assert (int(label_id), label) == (expected.label_id, expected.label)
        assert float(prob) == pytest.approx(expected.prob, abs=1e-4)
