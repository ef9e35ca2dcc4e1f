"""Two processes over gloo on the CPU, started by ``paddle.distributed.launch``.

GPUs, several machines: not run here.
"""

import contextlib
import os
import subprocess
import sys

import numpy as np
import psutil
import pytest

from paddlenlp.transformers.checkpoint import read_weights
from tests.helpers.training import FIXTURES, read_log, read_summary, tiny_flags, write_sst2
from tests.helpers.waiting import wait_while_running

PLAIN = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}


def start(repo_root, flags, log_dir):
    """Start train.py in two processes; returns the launcher."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [sys.executable, *launcher, "--log_dir", str(log_dir), str(repo_root / "train.py"), *flags],
        cwd=str(log_dir.parent),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill(process):
    """Kill the launcher and its processes, which are in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        for one in [*launcher.children(recursive=True), launcher]:
            one.kill()


def launch(repo_root, flags, log_dir):
    """Run train.py in two processes; returns the finished launcher."""
    process = start(repo_root, flags, log_dir)
    try:
        output, _ = process.communicate(timeout=240)
    finally:
        kill(process)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory):
    # 23 dev rows: the two processes cannot share them equally
    return write_sst2(tmp_path_factory.mktemp("sst2"), train=40, dev=23)


def weights(output_dir):
    """The arrays of the best checkpoint."""
    return read_weights(str(output_dir / "best.pdparams" / "model_state.pdparams"))


def test_two_processes_equal_one(repo_root, call_script, tiny_checkpoint, data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    common = {"logging_steps": 1, "save_steps": 5, "max_steps": 10, **PLAIN}
    single = tiny_flags(tiny_checkpoint, data, one, batch_size=8, **common)
    assert call_script("train.py", *single).returncode == 0
    # 2 processes x 2 batches x 2 examples make the same 8 examples of a step
    cut = {"batch_size": 2, "gradient_accumulation_steps": 2}
    flags = tiny_flags(tiny_checkpoint, data, two, **cut, **common)
    shared = launch(repo_root, flags, tmp_path / "log")
    assert shared.returncode == 0, shared.stdout
    assert read_summary(two)["processes"] == 2
    losses = [[record["loss"] for record in read_log(out, "eval")] for out in (one, two)]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    a, b = weights(one), weights(two)
    for name in a:
        np.testing.assert_allclose(b[name], a[name], atol=5e-4, err_msg=name)


def test_two_processes_resume_bit_for_bit(repo_root, tiny_checkpoint, data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = {"max_steps": 60, "logging_steps": 60, "save_steps": 10}
    done = launch(repo_root, tiny_flags(tiny_checkpoint, data, whole, **common), tmp_path / "log")
    assert done.returncode == 0, done.stdout
    flags = tiny_flags(tiny_checkpoint, data, broken, **common)
    process = start(repo_root, flags, tmp_path / "log")
    wait_while_running(
        lambda: list(broken.glob("states/step-*")), process, lambda: process.stdout.read()
    )
    kill(process)
    process.communicate()
    assert not read_log(broken, "train")  # killed before the end
    resumed = launch(repo_root, [*flags, "--resume"], tmp_path / "log")
    assert resumed.returncode == 0, resumed.stdout
    a, b = weights(whole), weights(broken)
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert read_summary(broken)["best"] == read_summary(whole)["best"]


def test_sharded_evaluation_is_exact(repo_root, call_script, tiny_checkpoint, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    # learning rate 0: the weights are those of the seed; mnli: two dev sets of odd sizes
    common = {"task_name": "mnli", "learning_rate": 0, "max_steps": 1, "batch_size": 2}
    single = tiny_flags(tiny_checkpoint, FIXTURES, one, **common)
    assert call_script("train.py", *single).returncode == 0
    flags = tiny_flags(tiny_checkpoint, FIXTURES, two, **common)
    shared = launch(repo_root, flags, tmp_path / "log")
    assert shared.returncode == 0, shared.stdout
    assert read_log(two, "eval") == read_log(one, "eval")
    assert len(read_log(two, "eval")) == 2
    # only the first process prints results, asks for the directory and writes to it
    silent = (tmp_path / "log" / "workerlog.1").read_text()
    assert "eval loss" not in silent
    assert "global step" not in silent
    assert "eval loss" in shared.stdout
    assert not (two / "previous").exists()


def test_a_mistake_ends_all_processes(repo_root, tiny_checkpoint, data, tmp_path):
    out = tmp_path / "out"
    out.write_text("a file, not a directory")
    done = launch(repo_root, tiny_flags(tiny_checkpoint, data, out), tmp_path / "log")
    assert done.returncode != 0
    assert "[not-writable]" in done.stdout
