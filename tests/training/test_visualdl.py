"""train.py --visualdl_dir: the curves of the log, in VisualDL's files."""

from importlib.util import find_spec

import pytest

from convbert.training.settings import train_settings
from tests.helpers.errors import raises_code
from tests.helpers.training import read_log, tiny_flags, write_sst2


@pytest.mark.skipif(find_spec("visualdl") is None, reason="needs requirements-visualdl.txt")
def test_the_curves_are_those_of_the_log(call_script, tiny_checkpoint, tmp_path):
    curves = tmp_path / "curves"
    flags = tiny_flags(tiny_checkpoint, write_sst2(tmp_path / "data"), tmp_path / "out")
    done = call_script("train.py", *flags, "--visualdl_dir", curves)
    assert done.returncode == 0, done.stderr
    from visualdl import LogReader

    (file,) = curves.iterdir()
    reader = LogReader(file_path=str(file))
    for tag, kind, key in (("train/loss", "train", "loss"), ("eval/dev/acc", "eval", "acc")):
        shown = [(point.id, point.value) for point in reader.get_data("scalar", tag)]
        logged = [(row["step"], row[key]) for row in read_log(tmp_path / "out", kind)]
        assert logged
        assert shown == [(step, pytest.approx(value)) for step, value in logged]


def test_without_the_package_nothing_starts(monkeypatch):
    monkeypatch.setattr("convbert.training.settings.find_spec", lambda name: None)
    with raises_code("package-missing", "--visualdl_dir", "requirements-visualdl.txt"):
        train_settings(["--visualdl_dir", "curves"])
