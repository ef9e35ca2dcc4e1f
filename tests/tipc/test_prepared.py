"""Whether prepared files were changed, and what identifies a model."""

from __future__ import annotations

import pytest

from paddlenlp.utils.errors import UserError
from tests.helpers.tipc import TIPC  # noqa: F401 (makes `tipc` importable)
from tipc import prepared


@pytest.fixture
def lite(tmp_path, monkeypatch):
    """A prepared folder with two files."""
    monkeypatch.setattr(prepared, "PREPARED", tmp_path)
    folder = tmp_path / "tiny" / "lite"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(name)
    hashes = prepared.file_hashes(folder)
    files = {f"lite/{path.name}": digest for path, digest in hashes.items()}
    prepared.write_manifest(folder.parent, {"lite": "a test"}, files)
    return folder


def test_unchanged_files(lite):
    assert prepared.changed_file(lite) is None
    assert prepared.changed_file(lite / "dev.tsv") is None
    assert prepared.read_manifest(lite.parent)[0] == {"lite": "a test"}


def test_changed_added_and_lost_files(lite):
    train, dev, new = lite / "train.tsv", lite / "dev.tsv", lite / "new.tsv"
    dev.write_text("changed")
    assert prepared.changed_file(lite) == prepared.changed_file(dev) == dev
    assert prepared.changed_file(train) is None
    dev.write_text("dev.tsv")
    new.write_text("new")
    assert prepared.changed_file(lite) == new
    new.unlink()
    dev.unlink()
    assert prepared.changed_file(lite) == dev


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_a_damaged_manifest(lite, damage):
    (lite.parent / "manifest.json").write_text(damage)
    with pytest.raises(UserError) as error:
        prepared.changed_file(lite)
    assert error.value.code == "file-damaged"


def test_other_files_are_not_checked(lite, tmp_path):
    assert prepared.changed_file(tmp_path.parent / "mine") is None


def test_a_fingerprint_depends_on_the_content(lite, tmp_path):
    before = prepared.fingerprint(lite)
    assert prepared.fingerprint(lite) == before
    (lite / "dev.tsv").write_text("changed")
    assert prepared.fingerprint(lite) != before
