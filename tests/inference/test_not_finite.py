"""NaN and infinity, in weights or in an answer: found when a model is opened, never an answer."""

import importlib.util
import pickle
import shutil

import numpy as np
import pytest

from convbert.inference import exported
from convbert.inference.dygraph import load_classifier
from convbert.inference.engines import EngineOptions, onnx_runtime
from convbert.inference.exported import open_exported
from convbert.inference.finite import check_finite
from paddlenlp.transformers.checkpoint import read_weights
from tests.helpers.errors import raises_code
from tests.helpers.weights import fill_row

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


WORD = "story"  # not in the text of the first run


def test_the_tensors_of_an_export_are_read(tiny_export, tmp_path):
    whole = (tiny_export / PARAMS).read_bytes()
    (tmp_path / "x").write_bytes(whole[:-4] + np.float32(np.inf).tobytes())
    with raises_code("not-finite", tmp_path / "x"):
        check_finite(str(tmp_path / "x"))
    for content in (b"", b"x" * 100, b"\xff" * 100, whole[:-5]):
        (tmp_path / "x").write_bytes(content)  # left to the engine
        check_finite(str(tmp_path / "x"))


@pytest.mark.parametrize("place", ["an initializer", "a constant"])
@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"])
def test_the_tensors_of_an_onnx_file_are_read(tmp_path, place, dtype):
    onnx = pytest.importorskip("onnx")
    bad = onnx.helper.make_tensor("bad", getattr(onnx.TensorProto, dtype), [2], [1, np.nan])
    # An attribute of another kind, which has no tensor, comes before it.
    nodes = [onnx.helper.make_node("Constant", [], ["scale"], value_float=0.5)]
    if place == "a constant":
        nodes.append(onnx.helper.make_node("Constant", [], ["bad"], value=bad))
    tensors = [bad] if place == "an initializer" else []
    graph = onnx.helper.make_graph(nodes, "graph", [], [], tensors)
    file = str(tmp_path / "model.onnx")
    onnx.save(onnx.helper.make_model(graph), file)
    with raises_code("not-finite", file):
        check_finite(file, onnx_runtime.onnx_weights(file))


def as_pdiparams(export, folder):
    """The weights that Paddle Inference reads, and OpenVINO too."""
    return export / PARAMS


def as_ir(export, folder):
    """The model in OpenVINO's own format; return its weights."""
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(export / "inference.pdmodel")
    openvino.save_model(model, export / "inference.xml", compress_to_fp16=False)
    return export / "inference.bin"


def as_onnx(export, folder):
    """The model in one ONNX file."""
    pytest.importorskip("paddle2onnx")
    onnx_runtime.convert(str(export), str(folder / "model.onnx"))
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("engine", "write"),
    [
        ("paddle", as_pdiparams),
        ("openvino", as_pdiparams),
        ("openvino", as_ir),
        ("onnxruntime", as_onnx),
    ],
)
def test_an_export(tiny_export, tiny_checkpoint, tmp_path, engine, write):
    if not importlib.util.find_spec(engine):
        pytest.skip(f"{engine} is not installed")
    if engine != "paddle" and not (tiny_export / "inference.pdmodel").is_file():
        pytest.skip("this Paddle writes no .pdmodel")
    export = shutil.copytree(tiny_export, tmp_path / "export")
    weights = write(export, tmp_path)
    named = str(tmp_path / "model.onnx" if engine == "onnxruntime" else weights)
    options = EngineOptions(engine=engine, onnx_file=named if engine == "onnxruntime" else None)
    open_exported(str(export), options)
    fill_row(weights, tiny_checkpoint, WORD, np.nan)
    with raises_code("not-finite", named):
        open_exported(str(export), options)


def test_a_conversion_for_serving(tiny_export, tiny_checkpoint, tmp_path):
    from convbert.serving.served_model import convert

    damaged = shutil.copytree(tiny_export, tmp_path / "export")
    fill_row(damaged / PARAMS, tiny_checkpoint, WORD, np.nan)
    with raises_code("not-finite", PARAMS):
        convert(str(damaged), str(tmp_path / "server"), str(tmp_path / "client"))
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
