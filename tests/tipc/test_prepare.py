"""Data and models of the TIPC configurations: made, kept, made again, taken from the user."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import verify
from tests.helpers.errors import raises_code
from tests.helpers.tipc import CPU_CONFIG
from tipc import prepare

GLUE = Path(__file__).resolve().parents[1] / "fixtures" / "glue" / "SST-2"
TINY = "ConvBERT-tiny"


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    """Return ``make(*parts, **flags)``: prepare in a temporary folder; returns what was printed."""
    monkeypatch.setattr(prepare, "PREPARED", tmp_path)
    defaults = {"data_dir": None, "model_dir": None, "trained_dir": None}

    def run(*parts, name=TINY, **flags):
        prepare.Preparation(name, Namespace(**{**defaults, **flags})).run(parts)
        return capsys.readouterr().out

    run.folder = tmp_path / TINY
    return run


def test_the_data(make):
    printed = make("lite", "whole")
    assert "lite: made (embedded reviews, sha256" in printed
    rows = {
        name: len((make.folder / name).read_text().splitlines())
        for name in ("lite/train.tsv", "lite/dev.tsv", "lite/texts.txt", "whole/dev.tsv")
    }
    assert rows == {
        "lite/train.tsv": 1 + 64,
        "lite/dev.tsv": 1 + 32,
        "lite/texts.txt": 32,
        "whole/dev.tsv": 1 + 120,
    }
    sentence, label = (make.folder / "lite/dev.tsv").read_text().splitlines()[1].split("\t")
    assert label in "01"
    assert (make.folder / "lite/texts.txt").read_text().startswith(sentence + "\n")


def test_parts_are_kept_until_something_changes(make):
    make("lite", "whole")
    printed = make("lite", "whole")
    assert printed.count("there already") == 2
    (make.folder / "lite/dev.tsv").write_text("sentence\tlabel\nnot ours\t1\n")
    printed = make("lite", "whole")
    assert "lite: made" in printed
    assert "whole: there already" in printed
    assert "not ours" not in (make.folder / "lite/dev.tsv").read_text()


def test_a_part_changed_by_hand_stays_changed_until_it_is_made_again(make):
    make("lite", "whole")
    dev = make.folder / "whole/dev.tsv"
    dev.write_text("sentence\tlabel\nnot ours\t1\n")
    make("lite")  # another mode needs this part only
    with pytest.raises(UserError):
        verify(dev.parent)
    assert "whole: made" in make("lite", "whole")
    verify(dev.parent)


def test_given_data_replace_the_embedded_and_back(make):
    make("lite")
    embedded = (make.folder / "lite/dev.tsv").read_text()
    assert "lite: made (given data" in make("lite", data_dir=str(GLUE))
    assert (make.folder / "lite/dev.tsv").read_text() != embedded
    assert "lite: made (embedded reviews" in make("lite")
    assert (make.folder / "lite/dev.tsv").read_text() == embedded


def test_random_weights(make):
    make("init")
    assert (make.folder / "init" / "model_state.pdparams").is_file()
    verify(make.folder / "init")


def test_a_given_checkpoint_is_copied(make, tiny_checkpoint):
    assert "init: made (copy of" in make("init", model_dir=str(tiny_checkpoint))
    weights = "model_state.pdparams"
    copied = (make.folder / "init" / weights).read_bytes()
    assert copied == (tiny_checkpoint / weights).read_bytes()


def test_a_given_trained_checkpoint_is_copied_and_exported(
    make, tiny_checkpoint, tmp_path, monkeypatch
):
    exports, given, weights = [], tmp_path / "given", "model_state.pdparams"
    shutil.copytree(tiny_checkpoint, given)
    monkeypatch.setattr(prepare, "_python", lambda script, **flags: exports.append(script))
    assert "trained: made (copy of" in make("trained", trained_dir=str(given))
    assert exports == ["tools/export_model.py"]
    copied = make.folder / "trained" / "best.pdparams" / weights
    assert copied.read_bytes() == (given / weights).read_bytes()
    assert "trained: there already" in make("trained", trained_dir=str(given))
    with open(given / weights, "ab") as file:
        file.write(b"changed")
    assert "trained: made" in make("trained", trained_dir=str(given))


def test_the_teacher_is_the_bundled_model(make, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(prepare, "_python", lambda *words, output_file, **_: output_file.touch())
    monkeypatch.setattr(prepare, "default_checkpoint", lambda: str(tiny_checkpoint))
    assert f"teacher: made (answers of {tiny_checkpoint}, sha256" in make("teacher")
    assert "teacher: there already" in make("teacher")


def test_wrong_input_leaves_nothing(make, tmp_path):
    with raises_code("file-missing"):
        make("trained", trained_dir=str(tmp_path))
    with pytest.raises(UserError):
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
