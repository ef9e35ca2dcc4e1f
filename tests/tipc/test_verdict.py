"""What compare_results.py accepts and refuses, and how inputs are identified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddlenlp.utils.errors import UserError
from tests.helpers.tipc import ROOT, judge
from tipc import records, speed, verdict

ANSWERS = {"label_id": [0, 1, 1, 0], "prob": [0.9, 0.8, 0.7, 0.6]}
METRICS = {
    "device": "cpu",
    "processes": 2,
    "finished": True,
    "steps": 4,
    "total_steps": 4,
    "best": {"dev": {"dev": {"loss": 0.5, "acc": 0.5}}},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"prob": [0.9, 0.8, 0.7, 0.600002]}, None),
        ({"prob": [0.9, 0.8, 0.7, 0.60002]}, "a probability differs"),
        ({"prob": [0.9, 0.8, 0.7, float("nan")]}, "a probability differs"),
        ({"label_id": [0, 1, 1, 1]}, "1 labels differ from X, the first in row 4"),
        ({"label_id": [0], "prob": [0.9]}, "1 answers against 4"),
    ],
)
def test_answers_against_a_reference(change, said):
    wrong = verdict.check_answers({**ANSWERS, **change}, ANSWERS, "fp32", "X")
    assert bool(wrong) == bool(said)
    if said:
        assert said in wrong[0]


def test_lower_precision_has_a_wider_tolerance():
    near = {**ANSWERS, "prob": [0.91, 0.8, 0.7, 0.6]}
    assert verdict.check_answers(near, ANSWERS, "fp32", "X")
    assert not verdict.check_answers(near, ANSWERS, "fp16", "X")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"device": "gpu:0"}, "device is gpu:0, asked for cpu"),
        ({"processes": 1}, "processes is 1, asked for 2"),
        ({"finished": False, "steps": 3}, "stopped at step 3 of 4"),
        ({"steps": 3}, "3 steps done, asked for 4"),
        ({"best": None}, "no evaluation with a finite loss"),
        ({"best": {"dev": {"dev": {"loss": None}}}}, "no evaluation with a finite loss"),
    ],
)
def test_training(change, said):
    wrong = verdict.check_training({**METRICS, **change}, "cpu", 2, 4)
    assert (said in wrong) if said else not wrong


def test_a_gpu_has_a_number():
    assert not verdict.check_expected({"device": "gpu:1"}, {"device": "gpu"})


@pytest.mark.parametrize(("after", "good"), [(0.95, True), (0.921, True), (0.9, False)])
def test_accuracy_of_a_quantized_model(after, good):
    assert bool(verdict.check_drop({"accuracy": after}, {"accuracy": 0.95})) != good


def test_answers_of_a_quantized_model():
    rounded = {**ANSWERS, "prob": [0.9, 0.8, 0.7, 0.601]}
    assert verdict.check_quantized(rounded, ANSWERS, "X") == []
    noise = {**ANSWERS, "prob": [prob + 1e-7 for prob in ANSWERS["prob"]]}  # of another engine
    for unquantized in (ANSWERS, noise):
        (same,) = verdict.check_quantized(unquantized, ANSWERS, "X")
        assert "nothing in this model is quantized" in same
        (same,) = verdict.check_integer(unquantized, ANSWERS, "X")
        assert "no integer kernel ran" in same
    assert verdict.check_integer(rounded, ANSWERS, "X") == []
    changed = {"label_id": [0, 1, 1, 1], "prob": [0.9, 0.78, 0.7, 0.9]}
    (labels,) = verdict.check_quantized(changed, ANSWERS, "X")
    assert "1 labels differ" in labels
    before = {**ANSWERS, "accuracy": 0.95, "batch_ms": {"median": 2.0}}
    after = {**changed, "accuracy": 0.94, "batch_ms": {"median": 3.456}}
    assert verdict.describe_drop(after, before) == (
        "1 of 4 labels changed, a probability by 0.02 at most; "
        "quantized: accuracy 0.94, 3.46 ms a batch; float: accuracy 0.95, 2.00 ms a batch"
    )


def test_no_accuracy_is_no_agreement():
    assert verdict.check_drop({"accuracy": None}, {"accuracy": 0.9})
    assert verdict.check_accuracy({}, {"accuracy": 0.9, "accuracy_atol": 0.1}, "X")


@pytest.mark.parametrize(("found", "good"), [(0.9, True), (0.86, True), (0.85, False), (1, False)])
def test_accuracy_against_a_record(found, good):
    record = {"accuracy": 0.9, "accuracy_atol": 0.045}
    assert bool(verdict.check_record({"accuracy": found}, record, "X")) != good


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{}"),
        ("a.json", "[]"),
        ("a.json", '{"label_id": [], "prob": []}'),
        ("a.json", '{"label_id": [0, 1], "prob": [0.9]}'),
        ("a.json", '{"label_id": [0]}'),
        ("a.jsonl", ""),
        ("a.jsonl", '{"label_id": 0, "prob": 0.9}\n{"label_'),
    ],
)
def test_no_answers_are_no_agreement(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError):
        verdict.read_answers(str(tmp_path / name))


def test_a_record(tmp_path, run_script):
    results, texts, record = (tmp_path / name for name in ("r.json", "t.tsv", "gt.json"))
    content = {**ANSWERS, "accuracy": 1.0, "precision": "fp32", "device": "cpu"}
    results.write_text(json.dumps(content))
    texts.write_text("sentence\n")
    script = "test_tipc/compare_results.py"
    made = ["--results", results, "--input_file", texts, "--gt_file", record]
    assert run_script(script, "record", *made).returncode == 0
    judge = [script, "infer", "--results", results, "--gt_file", record, "--expect=device=cpu"]
    assert run_script(*judge).stdout == "compare_results: good\n"
    content["prob"] = [0.9, 0.8, 0.7, 0.65]
    results.write_text(json.dumps(content))
    failed = run_script(*judge)
    assert failed.returncode == 1
    assert "a probability differs" in failed.stdout
    assert run_script(script, "infer", "--results", tmp_path / "none.json").returncode == 2


ENGINE = {"device": "cpu", "use_mkldnn": True, "cpu_threads": 2, "precision": "fp32"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--expect=device=cpu", "--expect=use_mkldnn=True", "--expect=cpu_threads=2"], "good"),
        (["--expect=device=gpu"], "device is cpu, asked for gpu"),
        (["--expect=use_mkldnn=False"], "use_mkldnn is True, asked for False"),
        (["--expect=cpu_threads=1"], "cpu_threads is 2, asked for 1"),
        (["--expect=precision=int8"], "precision is fp32, asked for int8"),
        (["--reference", "same.jsonl"], "good"),
        (["--reference", "other.jsonl"], "a probability differs from other.jsonl"),
        (["--baseline", "results.json"], "nothing in this model is quantized"),
        (["--rounded", "results.json"], "no integer kernel ran"),
        (["--rounded", "other.jsonl"], "good"),
    ],
)
def test_the_judge_of_an_engine(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    Path("results.json").write_text(json.dumps({**ANSWERS, **ENGINE, "accuracy": 1.0}))
    for name, prob in (("same", 0.6), ("other", 0.7)):
        rows = zip(ANSWERS["label_id"], [*ANSWERS["prob"][:3], prob])
        lines = [json.dumps({"label_id": a, "prob": b}) + "\n" for a, b in rows]
        Path(f"{name}.jsonl").write_text("".join(lines))
    status = judge("infer", "--results", "results.json", *flags)
    printed = capsys.readouterr().out
    assert status == (said != "good")
    assert f"compare_results: {said}" in printed or said in printed
    reference = ["--reference", "results.json"]
    for name, status in (("same", 0), ("other", 1)):
        assert judge("answers", "--answers", f"{name}.jsonl", *reference) == status


def test_an_unknown_precision_is_not_judged(tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({**ANSWERS, "precision": "fp4"}))
    with pytest.raises(UserError, match="unknown precision fp4"):
        judge("infer", "--results", str(results))


def test_records_only_count_for_their_own_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", ROOT / "test_tipc" / "results")
    notes = []
    assert records.arguments("Nothing", "key", str(tmp_path / "x"), notes) == []
    assert notes == ["no recorded expectation for Nothing, key"]
    other = tmp_path / "dev.tsv"
    other.write_text("sentence\tlabel\nother\t1\n")
    assert records.arguments("ConvBERT-tiny", "reference", str(other), notes) == []
    assert "recorded on other texts" in notes[1]
    with pytest.raises(UserError, match="no file .*none.tsv: run prepare.sh first"):
        records.arguments("ConvBERT-tiny", "reference", str(tmp_path / "none.tsv"), notes)


@pytest.mark.parametrize("text", ["{", '{"input_sha256": "x"}', '{"accuracy": 1, "prob": [1]}'])
def test_a_damaged_record_is_refused_before_the_run(tmp_path, monkeypatch, text):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    (tmp_path / "Mine_key.json").write_text(text)
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na\t1\n")
    with pytest.raises(UserError, match="Mine_key.json"):
        records.arguments("Mine", "key", str(tmp_path / "dev.tsv"), [])


def test_a_changed_model_is_noticed(tmp_path):
    model = tmp_path / "trained"
    model.mkdir()
    (model / "weights").write_text("one")
    assert records.fingerprint(model).endswith("not made by prepare.sh")
    files = {f"trained/{name}": digest for name, digest in records.file_hashes(model).items()}
    manifest = {"sources": {}, "files": files}
    (tmp_path / records.MANIFEST_FILE).write_text(json.dumps(manifest))
    assert records.fingerprint(model).endswith("as prepare.sh made it")
    (model / "weights").write_text("two")
    with pytest.raises(UserError, match="is not what prepare.sh wrote"):
        records.fingerprint(model)


def test_prepared_inputs_of_every_step_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(records, "PREPARED", tmp_path / "data")
    lite = tmp_path / "data" / "tiny" / "lite"
    lite.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (lite / name).write_text(name)
    files = {f"lite/{name}": digest for name, digest in records.file_hashes(lite).items()}
    manifest = json.dumps({"sources": {}, "files": files})
    (lite.parent / records.MANIFEST_FILE).write_text(manifest)
    directory, file = (
        ["train.py", "--data_dir=data/tiny/lite"],
        ["--calib", "data/tiny/lite/dev.tsv"],
    )
    records.check_inputs(directory + file + ["--input_file=elsewhere/none.tsv"], "this")
    with pytest.raises(UserError, match="no data/tiny/init: run this"):
        records.check_inputs(["--model_name_or_path=data/tiny/init"], "this")
    (lite / "dev.tsv").write_text("changed")
    for words in (directory, file):
        with pytest.raises(UserError, match="lite/dev.tsv is not what prepare.sh wrote"):
            records.check_inputs(words, "this")
    records.check_inputs(["data/tiny/lite/train.tsv"], "this")
    (lite / "dev.tsv").unlink()
    with pytest.raises(UserError, match="lite/dev.tsv is not what prepare.sh wrote"):
        records.check_inputs(directory, "this")


def test_speed_leaves_out_the_first_line():
    rows = [
        {"seconds": 10.0, "examples_per_second": 1.0},
        {"seconds": 11.0, "examples_per_second": 100.0},
        {"seconds": 14.0, "examples_per_second": 20.0},
    ]
    assert speed.steady_ips(rows) == pytest.approx((100 + 60) / 4)
    with pytest.raises(UserError, match="fewer than two"):
        speed.steady_ips(rows[:1])
