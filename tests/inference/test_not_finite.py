"""NaN and infinity, in weights or in an answer: found when a model is opened, never an answer."""

from __future__ import annotations

import importlib.util
import pickle
import shutil

import numpy as np
import pytest

from convbert.inference import exported
from convbert.inference.dygraph import load_classifier
from convbert.inference.engines import EngineOptions
from convbert.inference.exported import open_exported
from convbert.inference.program import non_finite_tensors
from paddlenlp.transformers.checkpoint import read_weights
from tests.helpers.errors import raises_code

PARAMS = "inference.pdiparams"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint(tiny_checkpoint, tmp_path, value):
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    path = copy / "model_state.pdparams"
    weights = {name: array.copy() for name, array in read_weights(str(path)).items()}
    weights["classifier.dense.bias"][3] = value
    path.write_bytes(pickle.dumps(weights, protocol=4))
    with raises_code("not-finite", "classifier.dense.bias"):
        load_classifier(str(copy))


@pytest.fixture
def damaged_export(tiny_export, tmp_path):
    """An exported model whose last number is NaN."""
    copy = shutil.copytree(tiny_export, tmp_path / "export")
    content = (copy / PARAMS).read_bytes()
    (copy / PARAMS).write_bytes(content[:-4] + np.float32(np.nan).tobytes())
    return copy


def test_the_tensors_of_an_export_are_read(tiny_export, damaged_export, tmp_path):
    assert non_finite_tensors(str(tiny_export / PARAMS)) == 0
    assert non_finite_tensors(str(damaged_export / PARAMS)) == 1
    for content in (b"", b"x" * 100, (damaged_export / PARAMS).read_bytes()[:-5]):
        (tmp_path / "x").write_bytes(content)  # left to the engine
        assert non_finite_tensors(str(tmp_path / "x")) == 0


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_an_export(damaged_export, engine):
    if not importlib.util.find_spec(engine):
        pytest.skip(f"{engine} is not installed")
    with raises_code("not-finite", PARAMS):
        open_exported(str(damaged_export), EngineOptions(engine=engine))


def test_a_conversion_for_serving(damaged_export, tmp_path):
    from convbert.serving.served_model import convert

    with raises_code("not-finite", PARAMS):
        convert(str(damaged_export), str(tmp_path / "server"), str(tmp_path / "client"))
    assert not (tmp_path / "server").exists()


class NanEngine:
    """Stands for an engine over weights that only it can read."""

    def run(self, input_ids, token_type_ids):
        """Return logits [B, C]."""
        return np.full((len(input_ids), 2), np.nan, np.float32)


def test_the_first_answer_of_any_engine(tiny_export, monkeypatch):
    monkeypatch.setattr(exported, "open_engine", lambda *_: NanEngine())
    with raises_code("not-finite", tiny_export):
        open_exported(str(tiny_export))
