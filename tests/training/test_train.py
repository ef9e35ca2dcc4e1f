"""train.py as a user runs it: what it prints and writes, and what it leaves when it is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from convbert.inference.dygraph import load_classifier
from paddlenlp.transformers.checkpoint import read_weights
from tests.helpers.training import read_log, read_summary, tiny_flags, write_sst2

TRAIN_LINE = re.compile(
    r"global step (\d+)/(\d+), epoch: (\d+), batch: (\d+), rank_id: 0, "
    r"loss: \d+\.\d{6}, lr: 0\.\d{10}, speed: \d+\.\d{4} step/s"
)
EVAL_LINE = re.compile(r"eval loss: \d+\.\d{6}, acc: [01]\.\d+, ")


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"))


@pytest.fixture(name="flags")
def _flags(tiny_checkpoint, data, tmp_path):
    """Return ``flags(**changes)``: a command line into ``tmp_path / "out"``."""

    return lambda **changes: tiny_flags(tiny_checkpoint, data, tmp_path / "out", **changes)


@pytest.fixture(name="train")
def _train(run_script, flags):
    """Return ``train(**changes)``: run train.py to its end in a process of its own."""
    return lambda **changes: run_script("train.py", *flags(**changes))


def start(repo_root, arguments, log):
    """Start train.py in the background; its output goes to the file ``log``."""
    command = [sys.executable, str(repo_root / "train.py"), *arguments]
    with open(log, "w") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ)


def wait_for(condition, process, log, seconds=120):
    """Poll until ``condition()``; fail with the log if the process ends or time runs out."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_whole_run(train, tmp_path):
    out = tmp_path / "out"
    epochs = {"max_steps": None, "num_train_epochs": 12}
    done = train(**epochs, logging_steps=5, save_steps=10, hidden_dropout_prob=0)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    places = [tuple(map(int, m.groups())) for m in map(TRAIN_LINE.fullmatch, lines) if m]
    # 40 examples, batch 8: 5 batches an epoch; epoch and batch count from 0, as upstream's
    assert places == [(step, 60, step // 5 - 1, 4) for step in range(5, 61, 5)]
    assert sum(bool(EVAL_LINE.fullmatch(line)) for line in lines) == 6
    assert sum(bool(re.fullmatch(r"eval done total : \d\S* s", line)) for line in lines) == 6
    assert lines.count("=" * 100) == 6
    assert "it/s" not in done.stderr  # no progress bar in a log file

    assert sorted(os.listdir(out)) == sorted(
        [".lock", "args.json", "best.pdparams", "curve.png", "metrics.json", "metrics.jsonl"]
    )
    assert sorted(os.listdir(out / "best.pdparams")) == [
        "model_config.json",
        "model_state.pdparams",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert json.loads((out / "args.json").read_text())["num_train_epochs"] == 12
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    train_log, eval_log = read_log(out, "train"), read_log(out, "eval")
    assert [record["step"] for record in train_log] == list(range(5, 61, 5))
    assert [record["step"] for record in eval_log] == list(range(10, 61, 10))
    assert train_log[-1]["loss"] < 0.5 * train_log[0]["loss"]
    best = read_summary(out)["best"]
    assert best["dev"]["dev"]["acc"] == 1.0
    # of equally good evaluations the last one is kept
    assert best["step"] == max(r["step"] for r in eval_log if r["acc"] == 1.0)
    model, processor = load_classifier(str(out / "best.pdparams"))
    assert processor.label_names == ["0", "1"]


def test_the_saved_weights_are_the_best_not_the_last(train, tmp_path):
    # The learning rate jumps so high that the model is ruined after a good first evaluation.
    done = train(max_steps=60, save_steps=5, warmup_steps=59, learning_rate=0.3, logging_steps=60)
    assert done.returncode == 0, done.stderr
    log = {record["step"]: record["acc"] for record in read_log(tmp_path / "out", "eval")}
    best = read_summary(tmp_path / "out")["best"]
    assert log[60] < best["dev"]["dev"]["acc"] == max(log.values())
    assert best["step"] < 60


def test_two_runs_are_equal_to_the_last_bit(train, tmp_path):
    assert train(output_dir=tmp_path / "a").returncode == 0
    assert train(output_dir=tmp_path / "b").returncode == 0
    assert train(output_dir=tmp_path / "c", seed=1).returncode == 0
    losses = [[r["loss"] for r in read_log(tmp_path / name, "train")] for name in "abc"]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    a, b = (read_weights(str(tmp_path / n / "best.pdparams/model_state.pdparams")) for n in "ab")
    assert all(np.array_equal(a[name], b[name]) for name in a)


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
    assert second.stderr.count("earlier run") == 1
    assert not (out / ".best.pdparams.0f.tmp").exists()
    assert train(max_steps=2).returncode == 0
    assert sorted(os.listdir(out / "previous")) == ["1", "2"]


def test_an_earlier_best_stays_until_the_first_evaluation(train, repo_root, flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    assert train().returncode == 0
    best = out / "best.pdparams" / "model_state.pdparams"
    before = best.read_bytes()
    process = start(repo_root, flags(max_steps=100000, save_steps=100000, logging_steps=1), log)
    wait_for(lambda: "global step 3/" in log.read_text(), process, log)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert best.read_bytes() == before


def test_max_steps_and_epochs(train, tmp_path):
    assert train(max_steps=7, num_train_epochs=1).returncode == 0
    assert read_log(tmp_path / "out", "train")[-1]["step"] == 7
    assert train(max_steps=-1, num_train_epochs=1).returncode == 0
    assert read_log(tmp_path / "out", "train")[-1]["step"] == 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_leaves_the_last_best(repo_root, flags, tmp_path, number, status):
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(repo_root, flags(max_steps=100000, save_steps=5), log)
    wait_for((out / "metrics.json").exists, process, log)
    process.send_signal(number)
    assert process.wait(60) == status
    assert "Traceback" not in log.read_text()
    assert "stopped at step" in log.read_text()
    load_classifier(str(out / "best.pdparams"))
    assert read_summary(out)["finished"] is False
    assert (out / "curve.png").exists()
    leftovers = [name for name in os.listdir(out) if name.endswith(".tmp")]
    assert leftovers == []


def test_two_runs_at_once_into_one_directory(repo_root, flags, train, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(repo_root, flags(max_steps=100000, save_steps=100000), log)
    try:
        wait_for((out / "args.json").exists, process, log)
        second = train(seed=7)
        assert second.returncode == 2
        assert "another run is writing to" in second.stderr
        assert second.stderr.count("error:") == 1
        assert json.loads((out / "args.json").read_text())["seed"] == 42
        assert not (out / "previous").exists()
    finally:
        process.kill()
        process.wait()
    assert train(max_steps=2).returncode == 0  # the lock dies with its holder


def test_a_loss_that_is_not_a_number_stops_the_run(train, tmp_path):
    done = train(learning_rate=1e8, max_steps=50, save_steps=1, logging_steps=1, warmup_steps=3)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "--learning_rate" in errors[0]
    load_classifier(str(tmp_path / "out" / "best.pdparams"))
    weights = read_weights(str(tmp_path / "out" / "best.pdparams" / "model_state.pdparams"))
    assert all(np.isfinite(array).all() for array in weights.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_name": "imdb"}, "invalid choice: 'imdb'"),
        ({"scheduler_type": "step"}, "invalid choice: 'step'"),
        ({"model_name_or_path": "convbert-huge"}, "convbert-base"),
        ({"model_name_or_path": "bert-base", "from_scratch": None}, "convbert-base"),
        ({"data_dir": "/nonexistent"}, "/nonexistent does not exist"),
        ({"max_seq_length": 65}, "positions"),
        ({"num_attention_heads": 3}, "multiple of"),
        ({"vocab_file": "/nonexistent/vocab.txt"}, "cannot read vocabulary"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(train, tmp_path, changes, message):
    done = train(**changes)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("train.py: error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_gpu_where_there_is_none(train, tmp_path):
    import paddle

    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("there is a GPU here")
    done = train(device="gpu")
    assert done.returncode == 2
    assert "--device gpu" in done.stderr
    assert not (tmp_path / "out").exists()


def test_output_directory_that_is_a_file(train, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = train()
    assert done.returncode == 2
    assert "cannot write in directory" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_damaged_weights(train, tiny_checkpoint, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    weights = broken / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:2000])
    done = train(model_name_or_path=broken, from_scratch=None)
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert not (tmp_path / "out").exists()


def test_fine_tuning_starts_from_the_given_weights(train, tiny_checkpoint, tmp_path):
    done = train(from_scratch=None, learning_rate=0, model_name_or_path=tiny_checkpoint)
    assert done.returncode == 0, done.stderr
    before = read_weights(str(tiny_checkpoint / "model_state.pdparams"))
    after = read_weights(str(tmp_path / "out" / "best.pdparams" / "model_state.pdparams"))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    # labels of the task, not those of the checkpoint it started from
    tokenizer = json.loads((tmp_path / "out/best.pdparams/tokenizer_config.json").read_text())
    assert tokenizer["label_names"] == ["0", "1"]


def test_amp_on_a_cpu_is_said_to_have_no_effect(train, tmp_path):
    assert train(output_dir=tmp_path / "plain").returncode == 0
    done = train(use_amp=True)
    assert done.returncode == 0
    assert done.stderr.count("--use_amp has no effect") == 1
    plain, amp = ([r["loss"] for r in read_log(tmp_path / n, "train")] for n in ("plain", "out"))
    assert plain == amp
