"""The alignment commands: a difference is never overlooked, and their tiny forms run here."""

import re
import sys

import numpy as np
import pytest

from alignment import chain, padding_effect, results, run
from tests.helpers.errors import raises_code

GOOD = {"x": np.arange(6.0).reshape(2, 3), "y": np.ones(4)}


def changed(**arrays):
    """The good arrays with some replaced."""
    return {**GOOD, **arrays}


def test_largest_difference_per_name():
    found = results.differences(GOOD, changed(x=GOOD["x"] + [[0, 0, 3e-4], [0, 0, -5e-4]]))
    assert found == {"x": pytest.approx(5e-4), "y": 0.0}
    scaled = results.differences(GOOD, changed(y=np.ones(4) * 1.5), {"y": 10.0})
    assert scaled["y"] == pytest.approx(0.05)


OVERLOOKED = {
    "not a number": changed(y=np.array([1, 1, np.nan, 1])),
    "infinite": changed(y=np.array([1, 1, np.inf, 1])),
    "transposed": changed(x=GOOD["x"].T),
    "broadcast": changed(y=np.ones(1)),
}


@pytest.mark.parametrize("mistake", OVERLOOKED)
def test_a_mistake_is_an_infinite_difference(mistake):
    for reference, ours in ((GOOD, OVERLOOKED[mistake]), (OVERLOOKED[mistake], GOOD)):
        worst = max(results.differences(reference, ours).values())
        assert not results.Row("step", "quantity", worst, 1e-5).passed


def test_a_name_on_one_side_only_stops():
    with raises_code("outputs-differ", "z"):
        results.differences(GOOD, changed(z=np.ones(1)))


def test_an_environment_that_cannot_be_made_stops(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON", str(tmp_path / "none"))
    with raises_code("step-failed"):
        run.reference_python(tmp_path / "reference")


def test_comparison_of_result_folders(tmp_path):
    for side, arrays in (("reference", GOOD), ("ours", changed(y=np.ones(4) * 1.25))):
        results.dump(tmp_path / side / "loss" / "case.npz", arrays)
    row = run.compare(tmp_path, "3 loss", "loss", "loss", 1e-6)
    assert (row.difference, row.passed, row.quantity) == (0.25, False, f"{tmp_path.name} loss (2)")
    row = run.compare(tmp_path, "3 loss", "loss", "loss", 1e-6, "x")
    assert (row.difference, row.passed, row.quantity) == (0.0, True, f"{tmp_path.name} loss (1)")
    (tmp_path / "ours" / "loss" / "case.npz").unlink()
    with raises_code("outputs-differ", "ours/loss/case.npz"):
        run.compare(tmp_path, "3 loss", "loss", "loss", 1e-6)


FOLDERS = ("forward", "alone", "heads", "converted", "backward", "heads_backward", "heads_loss")
FOLDERS += ("training_loss", "training_parameters", "metric")


@pytest.mark.parametrize("lost", [None, *FOLDERS])
def test_every_quantity_is_compared_or_missed(tmp_path, monkeypatch, lost):
    """A quantity without results must not pass as equal."""
    arrays = {"state_0": np.ones(2), "logits": np.ones(2), "loss": np.ones(1)}
    for side in ("reference", "ours"):
        for name in FOLDERS:
            if name != lost:
                results.dump(tmp_path / side / name / "case.npz", arrays)
    monkeypatch.setattr(run, "run_reference", lambda *args: None)
    monkeypatch.setattr(run, "run_ours", lambda *args: None)
    if lost:
        with raises_code("outputs-differ", tmp_path.name):
            run.compare_size(tmp_path, "python", quick=True)
    else:
        rows = run.compare_size(tmp_path, "python", quick=True)
        assert len(rows) == len(run.COMPARISONS)
        assert {what for _, what, *_ in run.COMPARISONS} == set(FOLDERS)


@pytest.mark.parametrize(("difference", "status"), [(1e-6, 0), (1e-4, 1), (float("nan"), 1)])
def test_status_of_the_command(tmp_path, monkeypatch, capsys, difference, status):
    row = results.Row("1 forward", "logits", difference, 1e-5)
    monkeypatch.setattr(run, "reference_python", lambda directory: "python")
    monkeypatch.setattr(run, "compare_size", lambda *args: [row])
    monkeypatch.setattr(run, "versions", lambda reference: "versions")
    stale = tmp_path / "convbert-small" / "ours" / "loss" / "of_a_larger_grid.npz"
    results.dump(stale, GOOD)
    assert run.main(["--quick", "--work_dir", str(tmp_path)]) == status
    assert not stale.exists()
    batches = results.load(tmp_path / "batches.npz")
    assert batches["input_ids_19"].shape == batches["token_type_ids_19"].shape
    assert batches["labels_19"].shape == (16,)
    assert f"{1 - status} of 1 rows" in capsys.readouterr().out.splitlines()[-1]


def test_the_scale_of_a_zero_in_theory_is_its_neighbour():
    layer = "convbert.encoder.layer.0.attention.self."
    gradients = {
        layer + "key.bias": np.full(3, 1e-9),
        layer + "query.bias": np.full(3, 0.5),
        "qa_outputs.bias": np.full(2, 1e-9),
        "qa_outputs.weight": np.full((2, 3), 0.25),
        "convbert.encoder.layer.0.output.LayerNorm.bias": np.full(3, 1e-9),
        "convbert.encoder.layer.0.output.LayerNorm.weight": np.full(3, 0.125),
    }
    assert sorted(run.gradient_scales(gradients).values()) == [0.125, 0.125, 0.25, 0.25, 0.5, 0.5]


def glue(repo_root):
    """The tiny SST-2 in the official format."""
    return str(repo_root / "tests" / "fixtures" / "glue" / "SST-2")


def test_chain_of_a_tiny_model(run_script, tiny_checkpoint, repo_root):
    """The second environment is this one again; its answers replace those of the first."""
    arguments = ("--model_dir", tiny_checkpoint, "--data_dir", glue(repo_root))
    result = run_script("alignment/chain.py", *arguments, "--other_env", sys.prefix)
    assert result.returncode == 0, result.stderr
    ways = re.findall(r"Paddle [\d.]+, ([\w ,]+?) +\| .* \| yes", result.stdout)
    assert set(ways) == {
        "to_static",
        "exported program, plain",
        "exported program, oneDNN",
        "program exported by the first, plain",
        "program exported by the first, oneDNN",
    }


def test_chain_fails_on_a_difference(monkeypatch, capsys, tmp_path):
    answers = {
        "a, dygraph": np.array([[0.5, 0.5]]),
        "a, to_static": np.array([[0.50002, 0.49998]]),
    }
    monkeypatch.setattr(chain, "answers", lambda *args: answers)
    assert chain.main(["--model_dir", "any", "--other_env", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert str(tmp_path / "bin" / "python") in printed  # no second Paddle
    assert re.search(r"to_static +\| 2.00e-05 .* NO", printed)


def test_effect_of_padding(tiny_checkpoint, repo_root, capsys):
    arguments = ["--model_dir", str(tiny_checkpoint), "--data_dir", glue(repo_root)]
    padding_effect.main(arguments)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    shifts = {(row[0], row[1]): float(row[2]) for row in rows if len(row) == 6 and "e-" in row[2]}
    assert shifts["masked", "padded to 64"] < 1e-5
    assert shifts["leaks", "padded to 64"] > 1e-3
    assert len(shifts) == 6
