"""The commands that make and train the general student, on a tiny teacher."""

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

    before, after = (read_weights(str(path / WEIGHTS)) for path in (first, general))
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
