"""train.py as a user runs it: what it prints and writes, and what it leaves when it is stopped."""

import json
import os
import re
import shutil
import signal

import numpy as np
import paddle
import pytest

from convbert.inference.dygraph import load_classifier
from paddlenlp.transformers.checkpoint import read_weights
from paddlenlp.utils.products import add_to_manifest
from tests.conftest import start_script
from tests.helpers.errors import assert_refused
from tests.helpers.training import read_log, read_summary, tiny_flags, write_sst2
from tests.helpers.waiting import wait_while_running

TRAIN_LINE = re.compile(
    r"global step (\d+)/(\d+), epoch: (\d+), batch: (\d+), rank_id: 0, "
    r"loss: \d+\.\d{6}, lr: 0\.\d{10}, speed: \d+\.\d{4} step/s"
)
NO_GPU = pytest.mark.skipif(paddle.device.cuda.device_count() > 0, reason="there is a GPU")
EVAL_LINE = re.compile(r"eval loss: \d+\.\d{6}, acc: [01]\.\d+, ")


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"))


@pytest.fixture(name="flags")
def _flags(tiny_checkpoint, data, tmp_path):
    """Return ``flags(**changes)``: a command line into ``tmp_path / "out"``."""

    return lambda **changes: tiny_flags(tiny_checkpoint, data, tmp_path / "out", **changes)


@pytest.fixture(name="train")
def _train(call_script, flags):
    """Return ``train(**changes)``: run train.py to its end."""
    return lambda **changes: call_script("train.py", *flags(**changes))


def start(arguments, log):
    """Start train.py in the background; its output goes to the file ``log``."""
    with open(log, "w") as file:
        return start_script("train.py", *arguments, output=file)


def test_a_whole_run(run_script, flags, tmp_path):
    out = tmp_path / "out"
    epochs = {"max_steps": None, "num_train_epochs": 12}
    settings = {"logging_steps": 5, "save_steps": 10, "hidden_dropout_prob": 0}
    done = run_script("train.py", *flags(**epochs, **settings))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    places = [tuple(map(int, m.groups())) for m in map(TRAIN_LINE.fullmatch, lines) if m]
    # 40 examples, batch 8: 5 batches an epoch; epoch and batch count from 0, as upstream's
    assert places == [(step, 60, step // 5 - 1, 4) for step in range(5, 61, 5)]
    assert sum(bool(EVAL_LINE.fullmatch(line)) for line in lines) == 6
    assert sum(bool(re.fullmatch(r"eval done total : \d\S* s", line)) for line in lines) == 6
    assert lines.count("=" * 100) == 6
    assert "it/s" not in done.stderr  # no progress bar in a log file

    files = {"args.json", "confusion.json", "curve.png", "metrics.json", "metrics.jsonl"}
    assert set(os.listdir(out)) == {".lock", "best.pdparams", *files}
    files = {"model_config.json", "model_state.pdparams", "tokenizer_config.json", "vocab.txt"}
    assert set(os.listdir(out / "best.pdparams")) == {"manifest.json", *files}
    assert json.loads((out / "args.json").read_text())["num_train_epochs"] == 12
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    train_log, eval_log = read_log(out, "train"), read_log(out, "eval")
    assert [record["step"] for record in train_log] == list(range(5, 61, 5))
    assert [record["step"] for record in eval_log] == list(range(10, 61, 10))
    assert train_log[-1]["loss"] < 0.5 * train_log[0]["loss"]
    confusion = json.loads((out / "confusion.json").read_text())["dev"]["confusion"]
    assert confusion == [[10, 0], [0, 10]]
    best = read_summary(out)["best"]
    assert best["dev"]["dev"]["acc"] == 1.0
    # of equally good evaluations the last one is kept
    assert best["step"] == max(r["step"] for r in eval_log if r["acc"] == 1.0)
    model, processor = load_classifier(str(out / "best.pdparams"))
    assert processor.label_names == ["negative", "positive"]


def test_the_saved_weights_are_the_best_not_the_last(train, tmp_path):
    # The learning rate jumps so high that the model is ruined after a good first evaluation.
    done = train(max_steps=60, save_steps=5, warmup_steps=59, learning_rate=0.3, logging_steps=60)
    assert done.returncode == 0, done.stderr
    log = {record["step"]: record["acc"] for record in read_log(tmp_path / "out", "eval")}
    best = read_summary(tmp_path / "out")["best"]
    assert log[60] < best["dev"]["dev"]["acc"] == max(log.values())
    assert best["step"] < 60


def test_a_second_run_neither_crashes_nor_mixes(train, tmp_path):
    out = tmp_path / "out"
    assert train(max_steps=4).returncode == 0
    first_log = (out / "metrics.jsonl").read_text()
    (out / ".best.pdparams.0f.tmp").mkdir()  # as a kill -9 during a save leaves it
    second = train(max_steps=6)
    assert second.returncode == 0, second.stderr
    assert [record["step"] for record in read_log(out, "train")] == [2, 4, 6]
    assert (out / "previous" / "1" / "metrics.jsonl").read_text() == first_log
    assert read_summary(out / "previous" / "1")["total_steps"] == 4
    assert not (out / ".best.pdparams.0f.tmp").exists()
    assert train(max_steps=2).returncode == 0
    assert sorted(os.listdir(out / "previous")) == ["1", "2"]


def test_a_worse_run_does_not_replace_the_best(train, tmp_path):
    out = tmp_path / "out"
    assert train(max_steps=60, save_steps=20, hidden_dropout_prob=0).returncode == 0
    best = read_summary(out)["best"]
    assert best["dev"]["dev"]["acc"] == 1.0
    weights = (out / "best.pdparams" / "model_state.pdparams").read_bytes()
    worse = train(learning_rate=0)
    assert worse.returncode == 0, worse.stderr
    assert (out / "best.pdparams" / "model_state.pdparams").read_bytes() == weights
    assert read_summary(out)["best"] == {**best, "earlier_run": True}
    assert train(learning_rate=0, overwrite=True).returncode == 0
    assert "earlier_run" not in read_summary(out)["best"]
    assert (out / "best.pdparams" / "model_state.pdparams").read_bytes() != weights


def test_the_best_model_of_other_data_is_not_replaced(train, tmp_path):
    out = tmp_path / "out"
    assert train().returncode == 0
    weights = (out / "best.pdparams" / "model_state.pdparams").read_bytes()
    other = write_sst2(tmp_path / "other", dev=12)
    assert_refused(train(data_dir=other), "resume", out)
    (out / "metrics.json").unlink()
    assert_refused(train(), "resume", out)
    assert (out / "best.pdparams" / "model_state.pdparams").read_bytes() == weights
    assert train(data_dir=other, overwrite=True).returncode == 0


def stop_at(process, log, line, number=signal.SIGTERM):
    """Send a signal once the log has a line; wait for the end."""
    wait_while_running(lambda: line in log.read_text(), process, log.read_text)
    process.send_signal(number)
    return process.wait(60)


RESUMED = {"max_steps": 400, "logging_steps": 10, "save_steps": 50, "max_grad_norm": 1}


@pytest.fixture(scope="module", name="whole")
def _whole(tiny_checkpoint, data, tmp_path_factory):
    """The folder of a run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = tiny_flags(tiny_checkpoint, data, folder / "out", **RESUMED)
    assert start(arguments, folder / "log").wait(timeout=300) == 0
    return folder / "out"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_resumed_run_equals_one_in_one_go(whole, train, run_script, flags, tmp_path, number):
    """Also after kill -9, which leaves the state of the last evaluation."""
    out, log, common = tmp_path / "out", tmp_path / "log", RESUMED
    status = stop_at(start(flags(**common), log), log, "step 120/", number)
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    assert "Traceback" not in log.read_text()
    load_classifier(str(out / "best.pdparams"))
    if number != signal.SIGKILL:
        assert read_summary(out)["finished"] is False
        place = rf"^(?!global step).*\b{read_summary(out)['steps']}\b.*\b{RESUMED['max_steps']}\b"
        assert re.search(place, log.read_text(), re.M)  # where it stopped
        assert (out / "curve.png").exists()
        assert not [name for name in os.listdir(out) if name.endswith(".tmp")]
    again = train(**common)
    assert_refused(again, "resume", out)
    done = run_script("train.py", *flags(resume=True, **common))
    assert done.returncode == 0, done.stderr
    for kind in ("train", "eval"):
        timing = ("seconds", "steps_per_second", "examples_per_second")
        logs = [
            [{k: v for k, v in record.items() if k not in timing} for record in read_log(d, kind)]
            for d in (whole, out)
        ]
        assert logs[1] == logs[0]
    assert read_summary(out)["best"] == read_summary(whole)["best"]
    a, b = (read_weights(str(d / "best.pdparams/model_state.pdparams")) for d in (whole, out))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not (out / "states").exists()
    assert_refused(train(resume=True, **common), "resume", out)


def test_resume_takes_the_settings_of_the_run(run_script, flags, train, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(flags(max_steps=150, seed=5, logging_steps=1, save_steps=20), log)
    assert stop_at(process, log, "step 20/") == 143
    assert_refused(train(resume=True, max_steps=150, seed=6), "resume", "seed")
    (state,) = (out / "states").iterdir()
    progress = json.loads((state / "progress.json").read_text())
    del progress["adam_epsilon"]  # as if the flag were newer than the run
    (state / "progress.json").write_text(json.dumps(progress))
    add_to_manifest(state, "training state", ["progress.json"])
    done = run_script("train.py", "--resume", "--output_dir", out)
    assert done.returncode == 0, done.stderr
    assert read_log(out, "train")[-1]["step"] == 150
    assert_refused(train(resume=True, output_dir=tmp_path / "new"), "resume", tmp_path / "new")


def test_a_product_is_not_a_folder_for_a_run(train, tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text('{"kind": "checkpoint", "files": {}}')
    before = {path.name for path in (tmp_path / "out").iterdir()}
    assert_refused(train(max_steps=1), "occupied", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == before


def test_old_states_are_removed(flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(flags(max_steps=10000, save_steps=5, keep_states=2), log)
    assert stop_at(process, log, "step 50/", signal.SIGKILL) == -signal.SIGKILL
    assert len(list((out / "states").glob("step-*"))) == 2


def test_two_runs_at_once_into_one_directory(flags, train, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(flags(max_steps=100000, save_steps=100000), log)
    try:
        wait_while_running((out / "args.json").exists, process, log.read_text)
        second = train(seed=7)
        assert_refused(second, "busy", out)
        assert json.loads((out / "args.json").read_text())["seed"] == 42
        assert not (out / "previous").exists()
    finally:
        process.kill()
        process.wait()
    assert train(max_steps=2).returncode == 0  # the lock dies with its holder


def test_a_loss_that_is_not_a_number_stops_the_run(train, tmp_path):
    done = train(learning_rate=1e8, max_steps=50, save_steps=1, logging_steps=1, warmup_steps=3)
    assert_refused(done, "not-finite", "--learning_rate")
    load_classifier(str(tmp_path / "out" / "best.pdparams"))
    weights = read_weights(str(tmp_path / "out" / "best.pdparams" / "model_state.pdparams"))
    assert all(np.isfinite(array).all() for array in weights.values())


@pytest.mark.parametrize(
    ("changes", "code", "fact"),
    [
        ({"model_name_or_path": "convbert-huge"}, "model-name", "convbert-base"),
        ({"model_name_or_path": "bert-base", "from_scratch": None}, "model-name", "convbert-base"),
        ({"data_dir": "/nonexistent/data"}, "file-missing", "/nonexistent/data"),
        ({"max_seq_length": 65}, "sequence-length", "65"),
        ({"vocab_file": "/nonexistent/vocab.txt"}, "file-missing", "/nonexistent/vocab.txt"),
        pytest.param({"device": "gpu"}, "device", "--device gpu", marks=NO_GPU),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(train, tmp_path, changes, code, fact):
    done = train(**changes)
    assert_refused(done, code, fact)
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_used(train, tiny_checkpoint, tmp_path):
    broken = shutil.copytree(tiny_checkpoint, tmp_path / "broken")
    weights = broken / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:2000])
    done = train(model_name_or_path=broken, from_scratch=None)
    assert_refused(done, "file-damaged", weights)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    assert_refused(train(), "not-writable", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_fine_tuning_starts_from_the_given_weights(train, tiny_checkpoint, tmp_path):
    given = shutil.copytree(tiny_checkpoint, tmp_path / "given")
    settings = json.loads((given / "tokenizer_config.json").read_text())
    settings["label_names"] = ["bad", "good"]
    (given / "tokenizer_config.json").write_text(json.dumps(settings))
    done = train(from_scratch=None, learning_rate=0, model_name_or_path=given)
    assert done.returncode == 0, done.stderr
    before = read_weights(str(tiny_checkpoint / "model_state.pdparams"))
    after = read_weights(str(tmp_path / "out" / "best.pdparams" / "model_state.pdparams"))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    # labels of the task, not those of the checkpoint it started from
    tokenizer = json.loads((tmp_path / "out/best.pdparams/tokenizer_config.json").read_text())
    assert tokenizer["label_names"] == ["negative", "positive"]
