"""The inference command on the texts, outputs and encodings that real users have."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest

from convbert.inference.classify import _open_npy
from convbert.inference.inference_flags import DefaultPath
from tests.helpers.errors import assert_refused, raises_code

PREDICT = "tools/predict.py"
INFER = "deploy/inference_python/infer.py"
TABLE = "sentence\tlabel\na good film\tpositive\nbad\tnegative\n"
COLUMNS = ("--input_file", "in.tsv", "--input_column", "sentence")
OUTPUTS = {"--output_npy": "a.npy", "--output_file": "a.jsonl", "--save_results": "r.json"}


@pytest.fixture
def infer(call_script, tiny_export, tmp_path):
    """Return ``infer(content, *flags)``: classify a table with labels, with all output files."""

    def run(content, *flags, outputs=OUTPUTS):
        (tmp_path / "in.tsv").write_text(content, encoding="utf-8", newline="")
        named = [word for pair in outputs.items() for word in pair]
        return call_script(INFER, "--model_dir", tiny_export, *COLUMNS, *named, *flags)

    return run


def test_true_labels_by_name(infer, tmp_path):
    done = infer(TABLE.replace("\n", "\r"), "--label_column", "label")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    right = sum(row["label"] == label for row, label in zip(rows, ("positive", "negative")))
    assert done.stdout.splitlines()[-1] == f"accuracy: {right / 2:.4f} ({right} of 2)"
    assert json.loads((tmp_path / "r.json").read_text())["accuracy"] == right / 2
    assert done.stderr.count("negative, positive") == 1


@pytest.mark.parametrize(
    ("content", "code", "fact"),
    [
        ("sentence\tlabel\n", "empty-input", "in.tsv, line 1"),
        (TABLE + "fine\t1.0\n", "label", "in.tsv, line 4"),
        (TABLE + "\u200b\ufeff\tpositive\n", "text", "in.tsv, line 4"),
        (TABLE + "fine\n", "row", "in.tsv, line 4"),
    ],
)
def test_earlier_outputs_stay_after_an_error(infer, tmp_path, content, code, fact):
    for name in OUTPUTS.values():
        (tmp_path / name).write_text("earlier")
    done = infer(content, "--label_column", "label", "--batch_size", 2)
    assert_refused(done, code, fact)
    assert {(tmp_path / name).read_text() for name in OUTPUTS.values()} == {"earlier"}
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jsonl",
        "a.npy",
        "in.tsv",
        "r.json",
    ]


@pytest.mark.parametrize("flag", OUTPUTS)
@pytest.mark.parametrize("target", [".", "in.tsv/x", "/proc/none/x"])
def test_an_output_that_cannot_be_written(infer, tmp_path, flag, target):
    done = infer(TABLE, outputs={**OUTPUTS, flag: target})
    assert_refused(done, "not-writable")
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in.tsv"]


@pytest.mark.parametrize(("script", "encoding"), [(INFER, "ascii"), (PREDICT, "gbk")])
def test_any_argument_and_any_encoding(repo_root, tmp_path, request, script, encoding):
    model = request.getfixturevalue("tiny_export" if script == INFER else "tiny_checkpoint")
    flags = ["--model_dir" if script == INFER else "--model_path", model]
    flags += ["--text", b"caf\xe9 \xe5\xa5\xbd \xf0\x9f\x98\x80 good", "--output_file", "a.jsonl"]
    done = subprocess.run(
        [sys.executable, repo_root / script, *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"label_id" in done.stdout
    done.stdout.decode(encoding)
    answer = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    assert answer["text"] == "caf\ufffd \u597d \U0001f600 good"


def test_the_npy_file_is_one_of_reprod_log(infer, tmp_path):
    helper = pytest.importorskip("reprod_log").ReprodDiffHelper()
    assert infer(TABLE).returncode == 0
    answers = helper.load_info(str(tmp_path / "a.npy"))
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(answers["label_id"], [row["label_id"] for row in rows])
    np.testing.assert_array_equal(answers["prob"], [row["prob"] for row in rows])


def test_a_default_output_file_is_left_out_where_it_cannot_be_written(tmp_path):
    (tmp_path / "x.npy").mkdir()  # root may write in any folder, but not over a folder
    with ExitStack() as stack:
        assert _open_npy(stack, DefaultPath(tmp_path / "x.npy")) is None
        with raises_code("not-writable", "x.npy"):
            _open_npy(stack, str(tmp_path / "x.npy"))
