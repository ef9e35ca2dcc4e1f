"""The commands of the chain as real processes: export, predict, infer, compare, and wrong input."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from convbert.command.flags import DEFAULT_SENTENCE

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


def test_comparison_fails_on_a_difference(run_script, tmp_path):
    for name, prob in (("a.npy", 0.7), ("b.npy", 0.70002)):
        np.save(tmp_path / name, {"label_id": np.array([1]), "prob": np.array([prob])})
    assert run_script(COMPARE, "a.npy", "b.npy").returncode == 1
    assert run_script(COMPARE, "a.npy", "b.npy", "--threshold", "1e-4").returncode == 0


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
    printed = [line.split(", prob: ") for line in one.stdout.splitlines()]
    assert [line[0] for line in printed] == [f"label_id: {row['label_id']}" for row in rows]
    np.testing.assert_allclose(
        [float(line[1]) for line in printed], [r["prob"] for r in rows], atol=1e-5
    )
    assert json.loads((tmp_path / "results.json").read_text())["texts"] == 20


def test_columns_and_accuracy(run_script, tiny_export, tmp_path):
    lines = ["sentence\tlabel"] + [f"{text}\t{i % 2}" for i, text in enumerate(SENTENCES)]
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["--input_column", "sentence", "--label_column", "label", "--output_file", "out.jsonl"]
    run = run_script(INFER, "--model_dir", tiny_export, "--input_file", "dev.tsv", *flags)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    right = sum(row["label_id"] == i % 2 for i, row in enumerate(rows))
    assert run.stdout.splitlines()[-1] == f"accuracy: {right / 4:.4f} ({right} of 4)"


def test_long_text_is_cut_and_said_once(run_script, tiny_export):
    run = run_script(INFER, "--model_dir", tiny_export, "--text", "good " * 99, "--max_seq_len", 16)
    assert run.returncode == 0
    assert run.stderr.count("longer than 16 tokens") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text", "  "], "--text is empty"),
        (["--text", "a", "--input_file", "x"], "exclude each other"),
        (["--input_file", "missing.txt"], "cannot read --input_file missing.txt"),
        (["--input_file", "latin1.txt"], "latin1.txt, line 2 is not UTF-8"),
        (["--input_file", "blank.txt"], "blank.txt, line 2 is empty"),
        (["--input_file", "good.txt", "--input_column", "text"], "no column 'text'"),
        (["--batch_size", "0"], "at least 1"),
        (["--use_gpu", "maybe"], "is not a boolean"),
        (["--use_gpu", "True"], "this Paddle has no GPU support"),
        (["--precision", "fp16"], "needs --use_gpu True"),
        (["--max_seq_len", "1000"], "1000 is more than the model's 64 positions"),
        (["--output_file", "/proc/none/out.jsonl"], "/proc/none"),
        (["--model_dir", "nowhere"], "'nowhere' is no directory"),
        (["--model_dir", "lacking"], "lacks inference.pdiparams"),
        (["--model_dir", "no_vocab"], "vocab.txt"),
        (["--model_dir", "no_labels"], "lacks tokenizer_config.json"),
        (["--model_dir", "damaged"], "damaged"),
        (["--model_dir", "other_words"], "words but the program was exported for"),
        (["--precision", "int8"], "is not quantized, so it has no int8 to run"),
    ],
)
def test_wrong_input_is_one_line(run_script, tiny_export, tmp_path, flags, message):
    (tmp_path / "latin1.txt").write_bytes("good\nna\xefve\n".encode("latin-1"))
    (tmp_path / "blank.txt").write_text("good\n \nfine\n")
    (tmp_path / "good.txt").write_text("good\n")
    for name, lost in (
        ("lacking", "inference.pdiparams"),
        ("no_vocab", "vocab.txt"),
        ("no_labels", "tokenizer_config.json"),
    ):
        shutil.copytree(tiny_export, tmp_path / name)
        (tmp_path / name / lost).unlink()
    shutil.copytree(tiny_export, tmp_path / "damaged")
    shutil.copytree(tiny_export, tmp_path / "other_words")
    (tmp_path / "other_words" / "model_config.json").unlink()  # as the original port exports
    _add_word(tmp_path / "other_words")
    params = tmp_path / "damaged" / "inference.pdiparams"
    params.write_bytes(params.read_bytes()[:1000])
    run = run_script(INFER, "--model_dir", tiny_export, *flags)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "output_inference_engine.npy").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "model_state.pdparams").unlink(), "lacks model_state.pdparams"),
        (lambda d: (d / "model_state.pdparams").write_bytes(b"\x80\x04"), "is damaged"),
        (lambda d: _set_config(d, hidden_size=20), "of another shape"),
        (lambda d: _set_config(d, num_hidden_layers=3), "missing: convbert.encoder.layers.2"),
        (lambda d: _set_config(d, num_classes=5), "classifier.out_proj.bias [2] instead of [5]"),
        (lambda d: (d / "model_config.json").write_text("{"), "is not JSON"),
        (lambda d: _add_word(d), "the model was built for"),
    ],
)
@pytest.mark.parametrize("script", [PREDICT, EXPORT])
def test_wrong_checkpoint_is_one_line(
    run_script, tiny_checkpoint, tmp_path, script, change, message
):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    change(broken)
    run = run_script(script, "--model_path", broken)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def _set_config(directory, **fields) -> None:
    path = directory / "model_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _add_word(directory) -> None:
    with open(directory / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("surplus\n")
