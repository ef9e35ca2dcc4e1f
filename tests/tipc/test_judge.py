"""What the judge of the TIPC runs accepts and refuses, and its command line."""

import json

import pytest

from tests.helpers.errors import raises_code
from tests.helpers.tipc import TIPC  # noqa: F401 (makes `tipc` importable)
from tipc import judge

ANSWERS = {"label_id": [0, 1, 1, 0], "prob": [0.9, 0.8, 0.7, 0.6]}
OTHER = {**ANSWERS, "prob": [0.9, 0.8, 0.7, 0.7]}
ENGINE = {"device": "cpu", "use_mkldnn": True, "cpu_threads": 2, "precision": "fp32"}
METRICS = {
    "device": "cpu",
    "processes": 2,
    "finished": True,
    "steps": 4,
    "total_steps": 4,
    "best": {"dev": {"dev": {"loss": 0.5, "acc": 0.5}}},
}


@pytest.fixture
def write(tmp_path):
    """Return ``write(name, content)``: a JSON file, or JSON lines of answers for .jsonl."""

    def write(name, content):
        path = tmp_path / name
        lines = [json.dumps(content)]
        if path.suffix == ".jsonl":
            rows = zip(content["label_id"], content["prob"])
            lines = [json.dumps({"label_id": label, "prob": prob}) for label, prob in rows]
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


def wrong(check, *args, **options) -> str:
    """What a check finds wrong; empty if nothing."""
    try:
        check(*args, **options)
    except judge.Wrong as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({}, None),
        ({"prob": [0.9, 0.8, 0.7, 0.600002]}, None),
        ({"prob": [0.9, 0.8, 0.7, 0.60002]}, ["2.0e-05"]),
        ({"prob": [0.9, 0.8, 0.7, float("nan")]}, ["inf"]),
        ({"label_id": [0, 1, 1, 1]}, ["1 labels", "row 4"]),
        ({"label_id": [0], "prob": [0.9]}, ["1 answers", "4"]),
    ],
)
def test_answers_against_a_reference(write, change, facts):
    found = write("found.jsonl", {**ANSWERS, **change})
    message = wrong(judge.engine, found, {}, write("reference.json", ANSWERS))
    assert bool(message) == bool(facts)
    assert all(fact in message for fact in facts or ())


def test_lower_precision_has_a_wider_tolerance(write):
    near = write("near.json", {**ANSWERS, "prob": [0.91, 0.8, 0.7, 0.6]})
    reference = write("reference.json", ANSWERS)
    assert wrong(judge.engine, near, {}, reference, precision="fp32")
    assert not wrong(judge.engine, near, {}, reference, precision="fp16")


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({}, None),
        ({"device": "gpu:0"}, ["device", "gpu:0", "cpu"]),
        ({"processes": 1}, ["processes", "1", "2"]),
        ({"finished": False}, ["finished", "False"]),
        ({"steps": 3}, ["3", "4"]),
        ({"best": None}, ["loss"]),
        ({"best": {"dev": {"dev": {"loss": None}}}}, ["loss"]),
    ],
)
def test_training(write, change, facts):
    metrics = write("metrics.json", {**METRICS, **change})
    message = wrong(judge.training, metrics, "cpu", 2, 4)
    assert bool(message) == bool(facts)
    assert all(fact in message for fact in facts or ())


def test_a_gpu_has_a_number():
    assert not wrong(judge.check_expected, {"device": "gpu:1"}, {"device": "gpu"})
    assert wrong(judge.check_expected, {"device": "cpu"}, {"device": "gpu"})


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"expect": {"device": "cpu", "use_mkldnn": "True", "cpu_threads": "2"}}, True),
        ({"expect": {"device": "gpu"}}, False),
        ({"expect": {"use_mkldnn": "False"}}, False),
        ({"expect": {"cpu_threads": "1"}}, False),
        ({"expect": {"precision": "int8"}}, False),
        ({"reference": ANSWERS}, True),
        ({"reference": OTHER}, False),
        ({"baseline": ANSWERS}, False),  # the same answers: nothing is quantized
        ({"baseline": OTHER}, True),
    ],
)
def test_an_engine(write, options, good):
    options = {"expect": {}, **options}
    for name, content in options.items():
        if name != "expect":
            options[name] = write(f"{name}.json", {**content, "accuracy": 1.0})
    results = write("results.json", {**ANSWERS, **ENGINE, "accuracy": 1.0})
    assert bool(wrong(judge.engine, results, **options)) != good


def test_an_unknown_precision_is_not_judged(write):
    with raises_code("tipc", "fp4"):
        judge.engine(write("results.json", {**ANSWERS, "precision": "fp4"}), {})


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({"accuracy": 0.94}, True),
        ({"accuracy": 0.921}, True),
        ({"accuracy": 0.9}, False),
        ({"accuracy": None}, False),
        ({"prob": [prob + 1e-7 for prob in ANSWERS["prob"]]}, False),  # noise of another engine
        ({"prob": [0.9, 0.78, 0.7, 0.6 - 0.26]}, False),
        ({"label_id": [0, 1, 1, 1], "prob": [0.9, 0.78, 0.7, 0.9]}, False),
    ],
)
def test_a_quantized_model(write, capsys, change, good):
    results = {**ANSWERS, "accuracy": 0.95, "batch_ms": {"median": 2.0}}
    float_model = write("float.json", results)
    rounded = {"prob": [0.9, 0.78, 0.7, 0.6], "batch_ms": {"median": 3.456}}
    int8 = write("int8.json", {**results, **rounded, **change, "precision": "int8"})
    assert bool(wrong(judge.engine, int8, {}, baseline=float_model)) != good
    facts = ("0 of 4", "0.02", f"{change.get('accuracy')}", "3.46 ms", "2.00 ms")
    described = capsys.readouterr().out
    assert not good or all(fact in described for fact in facts)


@pytest.mark.parametrize(
    ("found", "good"), [(0.9, True), (0.86, True), (0.85, False), (1, False), (None, False)]
)
def test_accuracy_against_a_record(write, found, good):
    record = write("X.json", {"input_sha256": "", "accuracy": 0.9, "accuracy_atol": 0.045})
    assert bool(wrong(judge.check_record, {"accuracy": found}, record)) != good


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.json", "{}", "file-damaged"),
        ("a.json", "[]", "file-damaged"),
        ("a.json", '{"label_id": [], "prob": []}', "file-damaged"),
        ("a.json", '{"label_id": [0, 1], "prob": [0.9]}', "file-damaged"),
        ("a.json", '{"label_id": [0]}', "file-damaged"),
        ("a.jsonl", "", "file-damaged"),
        ("a.jsonl", '{"label_id": 0, "prob": 0.9}\n{"label_', "file-unreadable"),
    ],
)
def test_a_file_without_answers_is_not_agreement(tmp_path, name, text, code):
    (tmp_path / name).write_text(text)
    with raises_code(code, tmp_path / name):
        judge.read_answers(tmp_path / name)


def test_a_record(tmp_path, write, run_script):
    results = write("r.json", {**ANSWERS, "accuracy": 1.0, "precision": "fp32", "device": "cpu"})
    texts, record = tmp_path / "t.tsv", tmp_path / "gt.json"
    texts.write_text("sentence\n")
    script = "test_tipc/compare_results.py"
    made = ["--results", results, "--input_file", texts, "--gt_file", record]
    assert run_script(script, "record", *made).returncode == 0
    compare = [script, "infer", "--results", results, "--gt_file", record]
    assert run_script(*compare).returncode == 0
    write("r.json", {**OTHER, "accuracy": 1.0, "precision": "fp32", "device": "cpu"})
    failed = run_script(*compare)
    assert failed.returncode == 1
    assert "gt.json" in failed.stdout
    results.unlink()
    assert run_script(*compare).returncode == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "file-unreadable"),
        ('{"input_sha256": "x"}', "file-damaged"),
        ('{"accuracy": 1, "prob": [1]}', "file-damaged"),
    ],
)
def test_a_damaged_record_is_refused_before_the_run(tmp_path, monkeypatch, text, code):
    monkeypatch.setattr(judge, "RESULTS", tmp_path)
    (tmp_path / "Mine_key.json").write_text(text)
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na\t1\n")
    with raises_code(code, "Mine_key.json"):
        judge.find_record("Mine", "key", str(tmp_path / "dev.tsv"), [])
