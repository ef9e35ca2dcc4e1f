"""The commands that make and train the general student, on a tiny teacher."""

import json

import numpy as np
import pytest

from paddlenlp.transformers.checkpoint import read_weights

WEIGHTS = "model_state.pdparams"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, repo_root, tiny_vocab):
    """Teacher and data for the commands."""
    data = tmp_path_factory.mktemp("sst2")
    reviews = (repo_root / "data" / "reviews" / "train.tsv").read_text(encoding="utf-8")
    lines = [line for line in reviews.splitlines() if len(line.split()) > 3]
    (data / "train.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return repo_root / "tests" / "fixtures" / "bert_golden", data


@pytest.mark.slow
def test_from_a_teacher_to_a_general_student(run_script, folders, tiny_vocab, tmp_path):
    teacher, data = folders
    first, general = tmp_path / "first", tmp_path / "general"
    common = (f"--teacher={teacher}", f"--data_dir={data}", "--cpu_threads=1")
    made = run_script(
        "distill/init_student.py",
        *common,
        f"--vocab_file={tiny_vocab}",
        f"--output_dir={first}",
        "--embedding_size=8",
        "--fit_steps=20",
    )
    assert made.returncode == 0, made.stderr
    assert "layer 1: heads" in made.stdout

    flags = (*common, f"--student={first}", "--batch_size=8", "--logging_steps=1")
    whole = run_script("distill/general.py", *flags, f"--output_dir={general}", "--max_steps=6")
    assert whole.returncode == 0, whole.stderr
    losses = [float(line.split()[3]) for line in whole.stdout.splitlines()[1:]]
    assert len(losses) == 6
    assert all(np.isfinite(losses))
    assert json.loads((general / "last" / "progress.json").read_text())["step"] == 6

    before, after = (
        read_weights(str(path / WEIGHTS)) for path in (first, general / "last" / "student")
    )
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)


@pytest.mark.slow
def test_a_resumed_run_equals_one_without_a_break(run_script, folders, tiny_vocab, tmp_path):
    teacher, data = folders
    first = tmp_path / "first"
    common = (f"--teacher={teacher}", f"--data_dir={data}", "--cpu_threads=1")
    run_script(
        "distill/init_student.py",
        *common,
        f"--vocab_file={tiny_vocab}",
        f"--output_dir={first}",
        "--embedding_size=8",
        "--fit_steps=5",
    )
    flags = (*common, f"--student={first}", "--batch_size=8", "--max_steps=4", "--save_steps=2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_script("distill/general.py", *flags, f"--output_dir={whole}")
    stopped = run_script("distill/general.py", *flags, f"--output_dir={broken}", "--stop_after=2")
    assert stopped.returncode == 0, stopped.stderr
    resumed = run_script("distill/general.py", *flags, f"--output_dir={broken}", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "from step 2" in resumed.stdout
    weights = [read_weights(str(path / "last" / "student" / WEIGHTS)) for path in (whole, broken)]
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name], err_msg=name)
