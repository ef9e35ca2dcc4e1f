"""The alignment commands: a difference is never overlooked, and their tiny forms run here."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from alignment import chain, dumps, padding_effect, run
from paddlenlp.utils.errors import UserError

GOOD = {"x": np.arange(6.0).reshape(2, 3), "y": np.ones(4)}


def changed(**arrays):
    """The good arrays with some replaced."""
    return {**GOOD, **arrays}


def test_largest_difference_per_name():
    found = dumps.differences(GOOD, changed(x=GOOD["x"] + [[0, 0, 3e-4], [0, 0, -5e-4]]))
    assert found == {"x": pytest.approx(5e-4), "y": 0.0}
    assert dumps.differences(GOOD, changed(y=np.ones(4) * 1.5), {"y": 10.0})["y"] == pytest.approx(
        0.05
    )


OVERLOOKED = {
    "not a number": changed(y=np.array([1, 1, np.nan, 1])),
    "infinite": changed(y=np.array([1, 1, np.inf, 1])),
    "transposed": changed(x=GOOD["x"].T),
    "broadcast": changed(y=np.ones(1)),
}


@pytest.mark.parametrize("mistake", OVERLOOKED)
def test_what_the_helper_alone_would_pass(mistake):
    for reference, ours in ((GOOD, OVERLOOKED[mistake]), (OVERLOOKED[mistake], GOOD)):
        worst = max(dumps.differences(reference, ours).values())
        assert not dumps.Row("step", "quantity", worst, 1e-5).passed


def test_a_name_on_one_side_only_stops():
    with pytest.raises(SystemExit, match="only one side has z"):
        dumps.differences(GOOD, changed(z=np.ones(1)))


def test_dumps_are_files_of_reprod_log(tmp_path):
    from reprod_log import ReprodDiffHelper

    dumps.dump(tmp_path / "a.npy", GOOD)
    helper = ReprodDiffHelper()
    helper.compare_info(helper.load_info(str(tmp_path / "a.npy")), dumps.load(tmp_path / "a.npy"))
    assert helper.diff_dict["x"]["max"] == 0


def test_table_tells_what_failed():
    rows = [dumps.Row("1 forward", "logits", 2e-6, 1e-5), dumps.Row("3 loss", "loss", 2e-5, 1e-5)]
    lines = dumps.table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.search(r"logits +\| 2.00e-06 +\| 1e-05 \| yes", lines[2])
    assert re.search(r"loss +\| 2.00e-05 +\| 1e-05 \| NO", lines[3])


REQUIREMENTS = run.REQUIREMENTS.read_text(encoding="utf-8")


READY = {"ready": REQUIREMENTS, "other pins": REQUIREMENTS + "six==1\n", "killed": None}


@pytest.mark.parametrize("state", READY)
def test_reference_environment_is_completed(tmp_path, monkeypatch, state):
    """Used as it is only where these very requirements were installed to the end."""
    python, ready, commands = tmp_path / "bin" / "python", READY[state], []
    python.parent.mkdir()
    python.touch()
    if ready is not None:
        (tmp_path / "ready").write_text(ready, encoding="utf-8")
    monkeypatch.setattr(run, "run_ok", lambda command: commands.append(command) or True)
    assert run.reference_python(tmp_path) == str(python)
    assert [command[2:4] for command in commands] == (
        [] if ready == REQUIREMENTS else [["pip", "install"]]
    )
    assert (tmp_path / "ready").read_text(encoding="utf-8") == REQUIREMENTS


def test_a_reference_environment_that_fails_is_not_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REFERENCE_PYTHONS", (sys.version_info[:2],))
    monkeypatch.setattr(run, "run_ok", lambda command: command[2] == "venv")
    with pytest.raises(UserError, match="pip install .* failed"):
        run.reference_python(tmp_path)
    assert not (tmp_path / "ready").exists()
    monkeypatch.setattr(run, "REFERENCE_PYTHONS", ())
    with pytest.raises(UserError, match=r"needs Python 3.11 or 3.12, not 3\."):
        run.reference_python(tmp_path)


def write_sides(work, ours):
    """Dumps of both sides for one size."""
    for side, arrays in (("reference", GOOD), ("ours", ours)):
        dumps.dump(work / side / "size" / "loss" / "case.npy", arrays)


def test_comparison_of_dump_folders(tmp_path):
    write_sides(tmp_path, changed(y=np.ones(4) * 1.25))
    (row,) = run.compare(tmp_path, "size", "loss", "loss", 1e-6, "3 loss")
    assert (row.difference, row.passed, row.quantity) == (0.25, False, "loss (2)")
    (row,) = run.compare(tmp_path, "size", "loss", "loss", 1e-6, "3 loss", select="x")
    assert (row.difference, row.passed, row.quantity) == (0.0, True, "loss (1)")
    with pytest.raises(UserError, match="nothing was dumped"):
        list(run.compare(tmp_path, "size", "forward", "logits", 1e-5, "1 forward"))
    (tmp_path / "ours" / "size" / "loss" / "case.npy").unlink()
    with pytest.raises(UserError, match="our side wrote no ours/size/loss/case.npy"):
        list(run.compare(tmp_path, "size", "loss", "loss", 1e-6, "3 loss"))


FOLDERS = ("forward", "alone", "heads", "converted", "loss", "backward", "heads_backward")
SINGLE_FILES = ("heads_loss", "training_loss", "training_parameters")


@pytest.mark.parametrize("lost", [None, *FOLDERS, *SINGLE_FILES])
def test_every_quantity_is_compared_or_missed(tmp_path, monkeypatch, lost):
    """What no side dumped would differ nowhere, so that it must not pass as equal."""
    paths = {name: f"{name}/case.npy" for name in FOLDERS}
    paths.update({name: f"{name}.npy" for name in SINGLE_FILES})
    arrays = {"state_0": np.ones(2), "logits": np.ones(2)}
    for side in ("reference", "ours"):
        for name, path in paths.items():
            if name != lost:
                dumps.dump(tmp_path / side / "convbert-small" / path, arrays)
    monkeypatch.setattr(run, "run_side", lambda *args: None)
    if lost:
        with pytest.raises(UserError, match="nothing was dumped for convbert-small"):
            run.compare_size(tmp_path, "convbert-small", "python", quick=True)
    else:
        rows = run.compare_size(tmp_path, "convbert-small", "python", quick=True)
        assert len(rows) == len(run.COMPARISONS)
        assert {what for _, what, *_ in run.COMPARISONS} == set(paths)


@pytest.mark.parametrize(("difference", "status"), [(1e-6, 0), (1e-4, 1), (float("nan"), 1)])
def test_status_of_the_command(tmp_path, monkeypatch, capsys, difference, status):
    row = dumps.Row("1 forward", "logits", difference, 1e-5)
    monkeypatch.setattr(run, "reference_python", lambda directory: "python")
    monkeypatch.setattr(run, "compare_size", lambda *args: [row])
    monkeypatch.setattr(run, "compare", lambda *args: [])
    monkeypatch.setattr(run, "versions", lambda reference: "versions")
    stale = tmp_path / "ours" / "convbert-small" / "loss" / "of_a_larger_grid.npy"
    dumps.dump(stale, GOOD)
    arguments = ["--quick", "--work_dir", str(tmp_path), "--data_dir", str(tmp_path)]
    assert run.main([*arguments, "--report", str(tmp_path / "report.md")]) == status
    assert not stale.exists()
    verdict = f"{1 - status} of 1 rows within their bounds" + "; beyond: logits" * status
    captured = capsys.readouterr()
    assert captured.out.endswith(verdict + "\n")
    assert f"convbert-small done: {verdict}\n" in captured.err
    assert "random batches" in (tmp_path / "report.md").read_text()


def test_zeros_in_theory_are_held_against_a_neighbour():
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


def test_chain_of_a_tiny_model(run_script, tiny_checkpoint, repo_root, tmp_path):
    arguments = ("--model_dir", tiny_checkpoint, "--data_dir", glue(repo_root))
    result = run_script("alignment/chain.py", *arguments, "--other_env", tmp_path / "none")
    assert result.returncode == 0, result.stderr
    ways = re.findall(r"Paddle [\d.]+, ([\w ,]+?) +\| .* \| yes", result.stdout)
    assert ways == ["to_static", "exported program, plain", "exported program, oneDNN"]
    assert "not run: a second Paddle" in result.stdout


def test_chain_fails_on_a_difference(monkeypatch, capsys, tmp_path):
    answers = {
        "a, dygraph": np.array([[0.5, 0.5]]),
        "a, to_static": np.array([[0.50002, 0.49998]]),
    }
    monkeypatch.setattr(chain, "run_worker", lambda *args: answers)
    assert chain.main(["--model_dir", "any", "--other_env", str(tmp_path)]) == 1
    assert re.search(r"to_static +\| 2.00e-05 .* NO", capsys.readouterr().out)


def test_effect_of_padding(tiny_checkpoint, repo_root, capsys):
    arguments = ["--model_dir", str(tiny_checkpoint), "--data_dir", glue(repo_root)]
    assert padding_effect.main(arguments) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    shifts = {(row[0], row[1]): float(row[2]) for row in rows if len(row) == 6 and "e-" in row[2]}
    assert shifts["masked", "padded to 64"] < 1e-5
    assert shifts["leaks", "padded to 64"] > 1e-3
    assert len(shifts) == 6
