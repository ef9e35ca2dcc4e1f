"""The exported program equals the model, at every published shape of the layers."""

import dataclasses
import json
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import paddle
import pytest

from convbert.inference import export
from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.inference.engines import EngineOptions, onnx_runtime
from convbert.inference.exported import open_exported
from convbert.serving.served_model import convert as convert_for_serving
from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.transformers.convbert.conversion import convert as convert_weights
from tests.conftest import run_python, without_manifest
from tests.helpers.errors import raises_code


@pytest.mark.parametrize("name", PRESETS)
def test_two_layers_of_every_size_export(name, tmp_path):
    paddle.seed(3)
    config = ConvBertConfig.preset(name, num_hidden_layers=2, vocab_size=100)
    model = ConvBertForSequenceClassification(config)
    model.eval()
    export.save_program(model, str(tmp_path / "inference"))
    rows = export.compare_with_model(model, str(tmp_path))
    assert len(rows) == 2 * len(export.CHECK_SHAPES)
    assert max(row[2] for row in rows) <= 1e-5


@pytest.fixture
def wide(tiny_checkpoint, tiny_config, tmp_path):
    """A checkpoint whose word table has seven rows more than its vocabulary."""
    paddle.seed(4)
    config = dataclasses.replace(tiny_config, vocab_size=tiny_config.vocab_size + 7)
    ConvBertForSequenceClassification(config).save_pretrained(str(tmp_path / "wide"))
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(tiny_checkpoint / name, tmp_path / "wide")
    return without_manifest(tmp_path / "wide")


def test_a_word_table_larger_than_the_vocabulary(wide, tmp_path):
    """Some trainers round its size up: the model is converted, exported, run and served."""
    model, processor = load_classifier(str(wide))
    batch = processor.collate(processor.encode(["good film", "a dull plot"]))
    expected = dygraph_runner(model)(*batch)
    folders = ("hf", "back", "export", "served", "client")
    hf, back, exported, served, client = (str(tmp_path / name) for name in folders)
    convert_weights(str(wide), hf, "hf")
    convert_weights(hf, back, "paddle")
    export.export_checkpoint(back, exported)
    convert_for_serving(exported, served, client)
    runs = [(served, EngineOptions(cpu_threads=1))]
    if find_spec("openvino"):
        runs.append((exported, EngineOptions(cpu_threads=1, engine="openvino")))
    if find_spec("paddle2onnx") and (tmp_path / "export" / "inference.pdmodel").is_file():
        file = str(tmp_path / "model.onnx")
        onnx_runtime.convert(exported, file)
        onnx = EngineOptions(cpu_threads=1, engine="onnxruntime", onnx_file=file)
        runs.append((exported, onnx))
    for directory, options in runs:
        engine, processor = open_exported(directory, options)
        again = processor.collate(processor.encode(["good film", "a dull plot"]))
        np.testing.assert_allclose(engine.run(*again), expected, atol=1e-5)


MEMORY_OF_SHAPES = """
import json
import sys
import numpy as np
from convbert.inference.engines import EngineOptions, open_engine

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

run = open_engine(sys.argv[1], EngineOptions(cpu_threads=1)).run
before = resident_mb()
for shape in json.loads(sys.argv[2]):
    ids = np.ones(shape, dtype=np.int64)
    run(ids, np.zeros_like(ids))
print(resident_mb() - before)
"""


def memory_of_shapes(model_dir, shapes):
    """MB that a process of its own takes more, once it has run these shapes."""
    return float(run_python("-c", MEMORY_OF_SHAPES, model_dir, json.dumps(shapes)).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_copy_of_the_weights_for_each_shape(tmp_path):
    config = ConvBertConfig.preset(
        "convbert-base", num_hidden_layers=2, intermediate_size=6144, vocab_size=100
    )
    export.save_program(ConvBertForSequenceClassification(config), str(tmp_path / "inference"))
    weights_mb = (tmp_path / "inference.pdiparams").stat().st_size / 1e6
    shapes = [(2, length) for length in range(4, 36, 4)]
    # 8 shapes: with copies 8 times as much
    assert memory_of_shapes(tmp_path, shapes) < weights_mb


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_depend_on_the_order_of_shapes(tmp_path):
    config = ConvBertConfig.preset("convbert-small", vocab_size=100)
    export.save_program(ConvBertForSequenceClassification(config), str(tmp_path / "inference"))
    shapes = [(8, length) for length in range(16, 144, 16)]
    falling = memory_of_shapes(tmp_path, shapes[::-1])
    rising = memory_of_shapes(tmp_path, shapes)
    assert rising < 5 * falling  # 17 times as much if buffers grow in place


def test_a_program_that_differs_is_refused_and_the_earlier_one_stays(
    tiny_checkpoint, tmp_path, monkeypatch
):
    def save_another(model, prefix):
        other = ConvBertForSequenceClassification(model.config)
        other.eval()
        save(other, prefix)

    save, target = export.save_program, tmp_path / "out"
    export.export_checkpoint(str(tiny_checkpoint), str(target))
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    monkeypatch.setattr(export, "save_program", save_another)
    with raises_code("outputs-differ"):
        export.export_checkpoint(str(tiny_checkpoint), str(target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert list(tmp_path.iterdir()) == [target]


def test_model_stays_dygraph_after_export(tiny_checkpoint, tmp_path):
    model = ConvBertForSequenceClassification.from_pretrained(str(tiny_checkpoint))
    model.eval()
    ids = np.array([[2, 5, 6, 3]], dtype=np.int64)
    before = dygraph_runner(model)(ids, np.zeros_like(ids))
    export.save_program(model, str(tmp_path / "inference"))
    np.testing.assert_array_equal(dygraph_runner(model)(ids, np.zeros_like(ids)), before)
