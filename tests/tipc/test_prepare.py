"""Data and models of the TIPC configurations: made, kept, made again, taken from the user."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

import tests.helpers.tipc  # noqa: F401 (makes `tipc` importable)
from paddlenlp.utils.errors import UserError
from tests.helpers.tipc import CPU_CONFIG
from tipc import prepare, records

GLUE = Path(__file__).resolve().parents[1] / "fixtures" / "glue" / "SST-2"
TINY = "ConvBERT-tiny"


@pytest.fixture
def prepared(tmp_path, monkeypatch, capsys):
    """Return ``make(*parts, **flags)``: prepare below a temporary folder; what was printed."""
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    defaults = {"data_dir": None, "model_dir": None, "trained_dir": None, "force": False}

    def make(*parts, name=TINY, **flags):
        prepare.Preparation(name, Namespace(**{**defaults, **flags})).run(parts)
        return capsys.readouterr().out

    make.folder = tmp_path / "test_tipc" / "data" / TINY
    return make


def test_the_data(prepared):
    printed = prepared("lite", "whole")
    assert "lite: made (embedded reviews, sha256" in printed
    rows = {
        name: len((prepared.folder / name).read_text().splitlines())
        for name in ("lite/train.tsv", "lite/dev.tsv", "lite/texts.txt", "whole/dev.tsv")
    }
    assert rows == {
        "lite/train.tsv": 1 + 64,
        "lite/dev.tsv": 1 + 32,
        "lite/texts.txt": 32,
        "whole/dev.tsv": 1 + 120,
    }
    sentence, label = (prepared.folder / "lite/dev.tsv").read_text().splitlines()[1].split("\t")
    assert label in "01"
    assert (prepared.folder / "lite/texts.txt").read_text().startswith(sentence + "\n")


def test_parts_are_kept_until_something_changes(prepared):
    prepared("lite", "whole")
    printed = prepared("lite", "whole")
    assert printed.count("there already") == 2
    (prepared.folder / "lite/dev.tsv").write_text("sentence\tlabel\nnot ours\t1\n")
    printed = prepared("lite", "whole")
    assert "lite: made" in printed
    assert "whole: there already" in printed
    assert "not ours" not in (prepared.folder / "lite/dev.tsv").read_text()
    assert prepared("lite", "whole", force=True).count(": made") == 2


def test_a_part_changed_by_hand_stays_changed_until_it_is_made_again(prepared):
    prepared("lite", "whole")
    (prepared.folder / "whole/dev.tsv").write_text("sentence\tlabel\nnot ours\t1\n")
    prepared("lite")  # what another mode needs: no reason to take the other part for good
    with pytest.raises(UserError, match=r"whole/dev.tsv is not what prepare.sh wrote"):
        records.fingerprint(prepared.folder / "whole")
    prepared("lite", "whole")
    assert records.fingerprint(prepared.folder / "whole").endswith("as prepare.sh made it")


def test_a_damaged_manifest_is_made_again(prepared):
    prepared("lite")
    for damage in ("{", "[]", "{}"):
        (prepared.folder / "manifest.json").write_text(damage)
        with pytest.raises(UserError, match="missing or damaged: run prepare.sh again"):
            records.fingerprint(prepared.folder / "lite")
        assert "lite: made" in prepared("lite")


def test_given_data_replace_the_embedded_and_back(prepared):
    prepared("lite")
    embedded = (prepared.folder / "lite/dev.tsv").read_text()
    assert "lite: made (given data" in prepared("lite", data_dir=str(GLUE))
    assert (prepared.folder / "lite/dev.tsv").read_text() != embedded
    assert "lite: made (embedded reviews" in prepared("lite")
    assert (prepared.folder / "lite/dev.tsv").read_text() == embedded


def test_checkpoints_have_a_fingerprint(prepared):
    prepared("init", "reference")
    for checkpoint in ("init", "reference/best.pdparams"):
        found = records.fingerprint(prepared.folder / checkpoint)
        assert found.endswith("as prepare.sh made it")
    assert set(json.loads((prepared.folder / "manifest.json").read_text())) == {"sources", "files"}


def test_the_reference_weights_are_the_same_each_time(prepared):
    import paddle

    weights = []
    for _ in range(2):
        prepared("reference", force=True)
        file = prepared.folder / "reference" / "best.pdparams" / "model_state.pdparams"
        weights.append({name: array.numpy() for name, array in paddle.load(str(file)).items()})
    first, second = weights
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def test_a_given_checkpoint_is_copied(prepared, tiny_checkpoint):
    assert "init: made (copy of" in prepared("init", model_dir=str(tiny_checkpoint))
    weights = "model_state.pdparams"
    copied = (prepared.folder / "init" / weights).read_bytes()
    assert copied == (tiny_checkpoint / weights).read_bytes()


def test_wrong_input_leaves_nothing(prepared, tmp_path):
    with pytest.raises(UserError, match=r"is no checkpoint directory \(no model_state.pdparams\)"):
        prepared("trained", trained_dir=str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        prepared("lite", data_dir=str(tmp_path / "none"))
    assert [path.name for path in prepared.folder.iterdir()] == []


def test_the_published_size_is_not_trained_here(prepared, tiny_checkpoint):
    given = {"data_dir": str(GLUE), "model_dir": str(tiny_checkpoint)}
    with pytest.raises(UserError, match="no fine-tuned checkpoint: give --trained_dir"):
        prepared("trained", name="ConvBERT", **given)


def test_the_command_line(tmp_path):
    config = tmp_path / "config.txt"
    config.write_text(
        CPU_CONFIG.read_text().replace("model_name:ConvBERT-tiny", "model_name:Other")
    )
    with pytest.raises(UserError, match="no recipe for model_name Other"):
        prepare.main([str(config), "lite_train_lite_infer"])
    with pytest.raises(UserError, match="invalid choice: 'lite'"):
        prepare.main([str(CPU_CONFIG), "lite"])
