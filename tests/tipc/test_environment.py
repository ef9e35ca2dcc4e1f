"""The interpreter of a TIPC configuration, its packages, and GPUs."""

from __future__ import annotations

import sys

import pytest

from tests.helpers.errors import raises_code
from tests.helpers.tipc import CPU_CONFIG, SERVING_CONFIG, changed
from tipc import environment
from tipc.config import read_config

LITE = "lite_train_lite_infer"


@pytest.fixture
def config(tmp_path):
    """Return ``config(kind, mode, lines)``."""

    def read(kind="train_infer", mode=LITE, lines=None):
        path = tmp_path / "config.txt"
        source = SERVING_CONFIG if kind == "serving" else CPU_CONFIG
        path.write_text(changed(source, lines or {}))
        return read_config(str(path), kind, mode)

    return read


@pytest.mark.parametrize(
    ("kind", "mode", "number", "line", "count"),
    [
        ("train_infer", LITE, 4, "gpu_list:-1|0,1", 2),
        ("train_infer", LITE, 4, "gpu_list:1.1.1.1,1.1.1.2;0", 1),
        ("train_infer", "whole_infer", 41, "--use_gpu:True", 1),
        ("benchmark", "benchmark_train", 4, "gpu_list:3", 4),
        ("serving", "serving_infer", 12, "op.convbert.local_service_conf.device_type:0|1", 1),
    ],
)
def test_gpus_that_do_not_exist(config, monkeypatch, kind, mode, number, line, count):
    monkeypatch.setattr(environment, "ask", lambda config, packages, count_gpus: ("", 0))
    with raises_code("device", f"line {number} ", f"{count} GPU"):
        environment.check_environment(config(kind, mode, {number: line}), kind)
    environment.check_environment(config(kind, mode), kind)


def test_int8_needs_openvino(config, monkeypatch):
    def ask(config, packages, count_gpus):
        return "nncf" if "nncf" in packages else "", 0

    monkeypatch.setattr(environment, "ask", ask)
    environment.check_environment(config(mode="whole_infer"), "train_infer")
    with raises_code("environment", "line 3 ", "nncf"):
        environment.check_environment(config(mode="klquant_whole_infer"), "train_infer")


def test_cards_count_only_where_a_mode_trains(config):
    read = config(mode="whole_infer", lines={4: "gpu_list:0"})
    assert list(environment.wanted_gpus(read, "train_infer")) == []


def test_a_python_is_asked(config):
    own = config(lines={3: f"python:{sys.executable}"})
    assert environment.ask(own, ["json", "no_such"]) == ("no_such", 0)
    pytest.importorskip("paddle")
    missing, gpus = environment.ask(own, ["paddle"], count_gpus=True)
    assert missing == ""
    assert gpus < 1000


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (None, None),  # no such file
        ("", 0o755),
        ("exit 1", 0o755),
        ("echo pyenv: command not found >&2; exit 127", 0o755),
        ("", 0o644),
    ],
)
def test_an_interpreter_that_does_not_run(config, tmp_path, text, mode):
    python = tmp_path / "python3.7"
    if text is not None:
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(mode)
    with raises_code("environment", "line 3 ", str(python)):
        environment.check_environment(config(lines={3: f"python:{python}"}), "train_infer")
