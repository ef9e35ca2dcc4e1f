"""The commands of the chain as real processes: export, predict, infer, compare, and wrong input."""

import json
import re
import shutil

import numpy as np
import pytest

from convbert.command.flags import DEFAULT_SENTENCE
from tests.helpers.errors import assert_refused

PREDICT = "tools/predict.py"
EXPORT = "tools/export_model.py"
INFER = "deploy/inference_python/infer.py"
COMPARE = "tools/compare_outputs.py"
SENTENCES = ["a good film .", "the script is bad", "it was a very dull story , not good !", "fine"]


def test_chain_from_checkpoint_to_equal_outputs(run_script, tiny_checkpoint, tmp_path):
    exported = run_script(EXPORT, "--model_path", tiny_checkpoint)
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "convbert_infer" / "inference.pdiparams").is_file()
    predicted = run_script(PREDICT, "--model_path", tiny_checkpoint)
    inferred = run_script(INFER, "--model_dir", "convbert_infer")
    assert predicted.stdout.startswith("label_id: "), predicted.stderr
    prefix = f"text: {DEFAULT_SENTENCE}, label_id: "
    assert inferred.stdout.startswith(prefix), inferred.stderr
    compared = run_script(COMPARE)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.count("passed") == 2


def test_comparison_fails_on_a_difference(call_script, tmp_path):
    for name, prob in (("a.npy", 0.7), ("b.npy", 0.70002)):
        np.save(tmp_path / name, {"label_id": np.array([1]), "prob": np.array([prob])})
    assert call_script(COMPARE, "a.npy", "b.npy").returncode == 1
    assert call_script(COMPARE, "a.npy", "b.npy", "--threshold", "1e-4").returncode == 0


def test_batches_files_and_standard_input_agree(run_script, tiny_checkpoint, tiny_export, tmp_path):
    text = "\n".join(SENTENCES * 5) + "\n"
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    one = run_script(PREDICT, "--model_path", tiny_checkpoint, "--input_file", "-", stdin=text)
    outputs = ["--output_file", "out.jsonl", "--save_results", "results.json"]
    many = run_script(
        INFER, "--model_dir", tiny_export, "--input_file", "in.txt", "--batch_size", 8, *outputs
    )
    assert one.returncode == many.returncode == 0, one.stderr + many.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == SENTENCES * 5
    assert {row["label"] for row in rows} <= {"negative", "positive"}
    printed = [re.split(", prob: |, label: ", line) for line in one.stdout.splitlines()]
    assert [line[0] for line in printed] == [f"label_id: {row['label_id']}" for row in rows]
    assert [line[2] for line in printed] == [row["label"] for row in rows]
    np.testing.assert_allclose(
        [float(line[1]) for line in printed], [r["prob"] for r in rows], atol=1e-5
    )
    assert json.loads((tmp_path / "results.json").read_text())["texts"] == 20


def test_a_long_text_is_cut_with_one_warning(call_script, tiny_export):
    run = call_script(
        INFER, "--model_dir", tiny_export, "--text", "good " * 99, "--max_seq_len", 16
    )
    assert run.returncode == 0
    assert run.stderr.count("16 tokens") == 1


@pytest.mark.parametrize(
    ("flags", "code", "fact"),
    [
        (["--text", "  "], "text", "--text"),
        (["--text", "a", "--input_file", "x"], "command-line", "--input_file"),
        (["--input_file", "missing.txt"], "file-missing", "missing.txt"),
        (["--input_file", "latin1.txt"], "encoding", "latin1.txt, line 2"),
        (["--input_file", "blank.txt"], "text", "blank.txt, line 2"),
        (["--input_file", "good.txt", "--input_column", "text"], "column", "'text'"),
        (["--batch_size", "0"], "command-line", "--batch_size"),
        (["--use_gpu", "maybe"], "command-line", "'maybe'"),
        (["--use_gpu", "True"], "device", "GPU"),
        (["--max_seq_len", "1000"], "sequence-length", "64"),
        (["--output_file", "/proc/none/out.jsonl"], "not-writable", "/proc/none"),
        (["--model_dir", "nowhere"], "file-missing", "'nowhere'"),
        (["--model_dir", "no_vocab"], "vocabulary", "vocab.txt"),
        (["--model_dir", "damaged"], "engine", "damaged"),
        (["--model_dir", "other_words"], "vocabulary", "other_words"),
        (["--precision", "int8"], "precision", "engine openvino"),
    ],
)
def test_wrong_input_is_one_line(call_script, tiny_export, tmp_path, flags, code, fact):
    (tmp_path / "latin1.txt").write_bytes("good\nna\xefve\n".encode("latin-1"))
    (tmp_path / "blank.txt").write_text("good\n \nfine\n")
    (tmp_path / "good.txt").write_text("good\n")
    for name, lost in (
        ("no_vocab", "vocab.txt"),
        ("other_words", "model_config.json"),  # as the original port exports
    ):
        shutil.copytree(tiny_export, tmp_path / name)
        (tmp_path / name / lost).unlink()
    _add_word(tmp_path / "other_words")
    shutil.copytree(tiny_export, tmp_path / "damaged")
    params = tmp_path / "damaged" / "inference.pdiparams"
    params.write_bytes(params.read_bytes()[:1000])
    run = call_script(INFER, "--model_dir", tiny_export, *flags)
    assert_refused(run, code, fact)
    assert not (tmp_path / "output_inference_engine.npy").exists()


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (lambda d: (d / "model_state.pdparams").write_bytes(b"\x80\x04"), "file-damaged", ""),
        (lambda d: _set_config(d, num_classes=5), "label", "2 classes"),
        (lambda d: _add_word(d), "vocabulary", ""),
    ],
)
@pytest.mark.parametrize("script", [PREDICT, EXPORT])
def test_wrong_checkpoint_is_one_line(
    call_script, tiny_checkpoint, tmp_path, script, change, code, fact
):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    change(broken)
    assert_refused(call_script(script, "--model_path", broken), code, fact)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def _set_config(directory, **fields) -> None:
    path = directory / "model_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _add_word(directory) -> None:
    with open(directory / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("surplus\n")
