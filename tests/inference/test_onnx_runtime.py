"""ONNX Runtime on a converted model, where paddle2onnx is installed, and the error without it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from convbert.inference.engines import EngineOptions, open_engine
from tests.helpers.errors import raises_code

installed = find_spec("onnxruntime") is not None
needs_onnx = pytest.mark.skipif(
    not installed or find_spec("paddle2onnx") is None, reason="needs requirements-onnx.txt"
)


def open_onnx(file):
    return open_engine(str(file.parent), EngineOptions(engine="onnxruntime", onnx_file=str(file)))


@needs_onnx
def test_the_same_logits_as_paddle(tmp_path, tiny_export):
    file = tmp_path / "model.onnx"
    flags = ["--model_filename", "inference.pdmodel", "--params_filename", "inference.pdiparams"]
    words = ["--model_dir", str(tiny_export), *flags, "--save_file", str(file)]
    code = "from paddle2onnx.command import main; main()"
    subprocess.run([sys.executable, "-c", code, *words, "--opset_version", "13"], check=True)
    session, engine = open_onnx(file), open_engine(str(tiny_export))
    rng = np.random.RandomState(0)
    for shape in ((1, 1), (2, 9), (5, 64)):
        ids = rng.randint(1, 40, shape)
        ids[-1, shape[1] // 2 + 1 :] = 0
        types = np.zeros_like(ids)
        difference = np.abs(session.run(ids, types) - engine.run(ids, types)).max()
        assert difference < 1e-5


@pytest.mark.skipif(not installed, reason="needs requirements-onnx.txt")
def test_wrong_files(tmp_path):
    with raises_code("file-missing", "none.onnx"):
        open_onnx(tmp_path / "none.onnx")
    broken = tmp_path / "model.onnx"
    broken.write_text("not a model")
    with raises_code("engine", "model.onnx"):
        open_onnx(broken)


def test_without_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with raises_code("package-missing", "requirements-onnx.txt"):
        open_onnx(tmp_path / "model.onnx")
