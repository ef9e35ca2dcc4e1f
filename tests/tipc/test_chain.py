"""The TIPC chains as a release tester runs them: real programs, a tiny model, CPU only.

Data and model are made once, in test_tipc/data, and kept there. Some minutes on two cores.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.tipc import CONFIGS, CPU_CONFIG, ROOT, SERVING_CONFIG, TRAIN_SCRIPT

MODEL_CONFIG = CONFIGS / "model_linux_cpu_normal_normal_infer_python_linux_cpu.txt"
DISTILL_CONFIG = CONFIGS / "train_linux_cpu_normal_distill_infer_python_linux_cpu.txt"
ONNX_CONFIG = CONFIGS / "model_linux_cpu_normal_normal_paddle2onnx_python_linux_cpu.txt"
LITE = "lite_train_lite_infer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="POSIX signals"),
]


def bash(*words, output: Path):
    """Run a TIPC script with this Python as `python3`; returns the status and what it printed."""
    folder = os.path.dirname(sys.executable)
    environment = {
        **os.environ,
        "VIRTUAL_ENV": os.path.dirname(folder),
        "PATH": folder + os.pathsep + os.environ["PATH"],
        "TIPC_OUTPUT": str(output),
    }
    done = subprocess.run(
        ["bash", *map(str, words)],
        cwd=str(ROOT),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory):
    output = tmp_path_factory.mktemp("none")
    whole = "whole_infer"
    for config, mode in ((CPU_CONFIG, whole), (MODEL_CONFIG, whole), (DISTILL_CONFIG, LITE)):
        status, printed = bash("test_tipc/prepare.sh", config, mode, output=output)
        assert status == 0, printed


def results_of(folder: Path, pattern: str):
    """The result files of a run's engines below ``folder``."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(pattern))]


def test_lite_train_lite_infer(tmp_path):
    status, printed = bash(TRAIN_SCRIPT, CPU_CONFIG, LITE, output=tmp_path)
    assert status == 0, printed
    run = tmp_path / "latest_python"
    two = json.loads((run / "norm_train_gpus_-1_-1_autocast_null/output/metrics.json").read_text())
    assert two["processes"] == 2
    assert two["steps"] == 4
    assert len(results_of(run, "norm_train_gpus_*/python_infer_cpu_*.json")) == 16


def test_distillation(tmp_path):
    status, printed = bash(TRAIN_SCRIPT, DISTILL_CONFIG, LITE, output=tmp_path)
    assert status == 0, printed
    (run,) = (tmp_path / "latest_python").glob("distill_train_gpus_-1_*")
    settings = json.loads((run / "output" / "args.json").read_text())
    assert settings["teacher_logits"].endswith("teacher/logits.npz")


@pytest.mark.parametrize(("config", "engines"), [(CPU_CONFIG, 8), (MODEL_CONFIG, 4)])
def test_whole_infer(tmp_path, config, engines):
    status, printed = bash(TRAIN_SCRIPT, config, "whole_infer", output=tmp_path)
    assert status == 0, printed
    notes = [line for line in printed.splitlines() if line.startswith("note: ")]
    assert not [note for note in notes if "recorded" in note]
    results = results_of(tmp_path / "latest_python", "*/python_infer_cpu_*.json")
    assert len(results) == engines
    assert {row["texts"] for row in results} == {120}


@pytest.mark.skipif(find_spec("nncf") is None, reason="needs requirements-openvino.txt")
def test_klquant_whole_infer(tmp_path):
    status, printed = bash(TRAIN_SCRIPT, CPU_CONFIG, "klquant_whole_infer", output=tmp_path)
    assert status == 0, printed
    trained = tmp_path / "latest_python" / "trained"
    assert json.loads((trained / "quantization.json").read_text())["quantized_inputs"] > 0
    int8 = results_of(trained, "int8/python_infer_cpu_*.json")
    floats = results_of(trained, "python_infer_cpu_*.json")
    for rows, precision in ((int8, "int8"), (floats, "fp32")):
        assert [(row["engine"], row["precision"]) for row in rows] == [("openvino", precision)] * 4
    # A quantized model without roundings in it would give the very same probabilities.
    assert all(row["prob"] != other["prob"] for row in int8 for other in floats)


@pytest.mark.skipif(find_spec("grpc") is None, reason="bash shell/serving.sh setup")
def test_serving(tmp_path):
    status, printed = bash("test_tipc/test_serving.sh", SERVING_CONFIG, output=tmp_path)
    assert status == 0, printed
    assert "all 8 steps OK" in printed


@pytest.mark.skipif(find_spec("paddle2onnx") is None, reason="needs requirements-onnx.txt")
def test_paddle2onnx(tmp_path):
    status, printed = bash("test_tipc/test_paddle2onnx.sh", ONNX_CONFIG, output=tmp_path)
    assert status == 0, printed


def test_benchmark(tmp_path):
    case = ("benchmark_train", "dynamic_bs8_fp32_DP_N1C1")
    status, printed = bash("test_tipc/benchmark_train.sh", CPU_CONFIG, *case, output=tmp_path)
    assert status == 0, printed
    line = next(line for line in printed.splitlines() if line.startswith('{"model_branch"'))
    report = json.loads(line)
    assert report["ips"] > 0
    assert report["device"] == "cpu"
    assert report["model_name"] == "ConvBERT-tiny_bs8_fp32_SingleP_DP"
