"""Data and models of the TIPC configurations: made, kept, made again, taken from the user."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from paddlenlp.utils.products import verify
from tests.helpers.errors import raises_code
from tests.helpers.tipc import CPU_CONFIG
from tipc import prepare

GLUE = Path(__file__).resolve().parents[1] / "fixtures" / "glue" / "SST-2"
TINY = "ConvBERT-tiny"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return ``make(*parts, **flags)``: prepare in a temporary folder; returns the parts made."""
    monkeypatch.setattr(prepare, "PREPARED", tmp_path)
    defaults = {"data_dir": None, "model_dir": None, "trained_dir": None}

    def written():
        return {p.parent.name: p.stat().st_mtime_ns for p in run.folder.glob("*/manifest.json")}

    def run(*parts, name=TINY, **flags):
        before = written().items()
        prepare.Preparation(name, Namespace(**{**defaults, **flags})).run(parts)
        return sorted(part for part, _ in written().items() - before)

    run.folder = tmp_path / TINY
    return run


def test_the_data(make):
    assert make("lite", "whole") == ["lite", "whole"]
    lines = {"lite/train.tsv": 1 + 64, "lite/dev.tsv": 1 + 32, "lite/texts.txt": 32}
    lines["whole/dev.tsv"] = 1 + 120
    for name, count in lines.items():
        assert len((make.folder / name).read_text().splitlines()) == count
    sentence, label = (make.folder / "lite/dev.tsv").read_text().splitlines()[1].split("\t")
    assert label in "01"
    assert (make.folder / "lite/texts.txt").read_text().startswith(sentence + "\n")


def test_parts_are_kept_until_something_changes(make):
    make("lite", "whole")
    assert make("lite", "whole") == []
    (make.folder / "lite/dev.tsv").write_text("sentence\tlabel\nnot ours\t1\n")
    assert make("lite", "whole") == ["lite"]
    assert "not ours" not in (make.folder / "lite/dev.tsv").read_text()


def test_a_part_changed_by_hand_stays_changed_until_it_is_made_again(make):
    make("lite", "whole")
    dev = make.folder / "whole/dev.tsv"
    dev.write_text("sentence\tlabel\nnot ours\t1\n")
    make("lite")  # another mode needs this part only
    with raises_code("file-damaged", dev):
        verify(dev.parent)
    assert make("lite", "whole") == ["whole"]
    verify(dev.parent)


def test_given_data_replace_the_embedded_and_back(make):
    make("lite")
    embedded = (make.folder / "lite/dev.tsv").read_text()
    assert make("lite", data_dir=str(GLUE)) == ["lite"]
    assert (make.folder / "lite/dev.tsv").read_text() != embedded
    assert make("lite") == ["lite"]
    assert (make.folder / "lite/dev.tsv").read_text() == embedded


def test_random_weights(make):
    make("init")
    assert (make.folder / "init" / "model_state.pdparams").is_file()
    verify(make.folder / "init")


def test_a_given_checkpoint_is_copied(make, tiny_checkpoint):
    assert make("init", model_dir=str(tiny_checkpoint)) == ["init"]
    weights = "model_state.pdparams"
    copied = (make.folder / "init" / weights).read_bytes()
    assert copied == (tiny_checkpoint / weights).read_bytes()


def test_a_given_trained_checkpoint_is_copied_and_exported(
    make, tiny_checkpoint, tmp_path, monkeypatch
):
    exports, given, weights = [], tmp_path / "given", "model_state.pdparams"
    shutil.copytree(tiny_checkpoint, given)
    monkeypatch.setattr(prepare, "_python", lambda script, **flags: exports.append(script))
    assert make("trained", trained_dir=str(given)) == ["trained"]
    assert exports == ["tools/export_model.py"]
    copied = make.folder / "trained" / "best.pdparams" / weights
    assert copied.read_bytes() == (given / weights).read_bytes()
    assert make("trained", trained_dir=str(given)) == []
    with open(given / weights, "ab") as file:
        file.write(b"changed")
    assert make("trained", trained_dir=str(given)) == ["trained"]


def test_the_teacher_is_the_bundled_model(make, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(prepare, "_python", lambda *words, output_file, **_: output_file.touch())
    monkeypatch.setattr(prepare, "default_checkpoint", lambda: str(tiny_checkpoint))
    assert make("teacher") == ["teacher"]
    manifest = (make.folder / "teacher" / "manifest.json").read_text()
    assert str(tiny_checkpoint) in json.loads(manifest)["settings"]["source"]
    assert make("teacher") == []


def test_wrong_input_leaves_nothing(make, tmp_path):
    with raises_code("file-missing"):
        make("trained", trained_dir=str(tmp_path))
    with raises_code("file-missing", tmp_path / "none"):
        make("lite", data_dir=str(tmp_path / "none"))
    assert list(make.folder.iterdir()) == []


def test_the_published_size_needs_a_trained_checkpoint(make):
    with raises_code("command-line", "--trained_dir"):
        make("trained", name="ConvBERT", data_dir=str(GLUE))


@pytest.mark.parametrize(
    ("model", "mode", "code"),
    [("Other", "lite_train_lite_infer", "tipc"), ("ConvBERT-tiny", "lite", "command-line")],
)
def test_the_command_line(tmp_path, model, mode, code):
    config = tmp_path / "config.txt"
    config.write_text(
        CPU_CONFIG.read_text().replace("model_name:ConvBERT-tiny", f"model_name:{model}")
    )
    with raises_code(code, model if code == "tipc" else mode):
        prepare.main([str(config), mode])
