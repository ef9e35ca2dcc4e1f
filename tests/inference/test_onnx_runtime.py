"""ONNX Runtime on a converted model, where paddle2onnx is installed, and the error without it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from convbert.inference.engines.onnx_runtime import OnnxSession
from convbert.inference.engines.paddle_inference import EngineOptions, Predictor
from paddlenlp.utils.errors import UserError

installed = find_spec("onnxruntime") is not None
needs_onnx = pytest.mark.skipif(
    not installed or find_spec("paddle2onnx") is None, reason="needs requirements-onnx.txt"
)


@needs_onnx
def test_the_same_logits_as_paddle(tmp_path, tiny_export):
    file = tmp_path / "model.onnx"
    flags = ["--model_filename", "inference.pdmodel", "--params_filename", "inference.pdiparams"]
    words = ["--model_dir", str(tiny_export), *flags, "--save_file", str(file)]
    code = "from paddle2onnx.command import main; main()"
    subprocess.run([sys.executable, "-c", code, *words, "--opset_version", "13"], check=True)
    session, engine = OnnxSession(str(file)), Predictor(str(tiny_export), EngineOptions())
    rng = np.random.RandomState(0)
    for shape in ((1, 1), (2, 9), (5, 64)):
        ids = rng.randint(1, 40, shape)
        ids[-1, shape[1] // 2 + 1 :] = 0
        types = np.zeros_like(ids)
        difference = np.abs(session.run(ids, types) - engine.run(ids, types)).max()
        assert difference < 1e-5


@pytest.mark.skipif(not installed, reason="needs requirements-onnx.txt")
def test_wrong_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        OnnxSession(str(tmp_path / "none.onnx"))
    broken = tmp_path / "model.onnx"
    broken.write_text("not a model")
    with pytest.raises(UserError, match="cannot open"):
        OnnxSession(str(broken))


def test_without_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install -r requirements-onnx.txt"):
        OnnxSession(str(tmp_path / "model.onnx"))
