"""Quantization for OpenVINO: accuracy decides whether the int8 model is written."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from convbert.inference import quantize
from convbert.inference.engines import EngineOptions, open_engine
from convbert.inference.exported import open_exported, open_processor
from convbert.text.reading import Row
from tests.conftest import TINY_WORDS, without_manifest
from tests.helpers.errors import assert_refused, raises_code
from tests.helpers.weights import fill_row

if find_spec("nncf") is None or find_spec("openvino") is None:
    pytest.skip("needs requirements-openvino.txt", allow_module_level=True)

QUANTIZE = "tools/quantize_model.py"
INT8 = EngineOptions(engine="openvino", precision="int8", cpu_threads=1)
TEXTS = ["a good film .", "the script is bad", "it was a very dull story , not good !", "fine"]
# Words of the whole vocabulary, in the lengths of the texts that are compared.
CALIBRATION = [
    Row(" ".join(np.random.RandomState(seed).choice(TINY_WORDS[5:], 1 + seed % 60)))
    for seed in range(64)
]


@pytest.fixture(scope="module")
def dev(exported):
    """Texts whose true labels are the answers of the float model."""
    engine, processor = open_exported(str(exported), EngineOptions(engine="openvino"))
    logits = engine.run(*processor.collate(processor.encode(TEXTS)))
    labels = [answer.label_id for answer in processor.decode(logits)]
    return [Row(text, label_id=label) for text, label in zip(TEXTS, labels)]


@pytest.fixture(scope="module")
def int8(tmp_path_factory, exported, dev):
    directory = tmp_path_factory.mktemp("int8") / "convbert_infer_int8"
    report = quantize.quantize_export(str(exported), str(directory), CALIBRATION, dev, max_drop=100)
    return directory, report


def test_the_report(int8, exported):
    directory, report = int8
    assert report["float"]["accuracy"] == 1.0
    assert report["drop"] == pytest.approx(100 * (1 - report["int8"]["accuracy"]))
    assert report["agreement"] == report["int8"]["accuracy"]
    assert report["int8"]["weight_bytes"] == (directory / "inference.bin").stat().st_size
    assert report["int8"]["weight_bytes"] < 0.7 * report["float"]["weight_bytes"]
    assert report["padded_length"] == 64
    assert set(report["int8"]["ms"]) == {1, 8}
    for name in ("vocab.txt", "tokenizer_config.json", "model_config.json"):
        assert (directory / name).read_bytes() == (exported / name).read_bytes()


def test_the_int8_model_runs_at_many_shapes(int8, exported):
    engine, reference = open_engine(str(int8[0]), INT8), open_engine(str(exported))
    rng = np.random.RandomState(0)
    for length in rng.randint(1, 65, 30):
        ids = rng.randint(1, 40, (rng.randint(1, 5), length))
        ids[-1, length // 2 + 1 :] = 0
        exact, rounded = reference.run(ids, ids * 0), engine.run(ids, ids * 0)
        assert 0 < np.abs(rounded - exact).max() < 0.5 * max(1, np.abs(exact).max())


def test_the_depthwise_convolution_stays_in_float(int8):
    import openvino

    model = openvino.Core().read_model(int8[0] / "inference.xml")
    kinds = {}
    for node in model.get_ops():
        inputs = [
            node.input_value(i).get_node().get_type_name() for i in range(node.get_input_size())
        ]
        kinds.setdefault(node.get_type_name(), []).append("FakeQuantize" in inputs)
    assert kinds["GroupConvolution"] == [False, False]
    assert sum(kinds["MatMul"]) >= 10


def test_the_precision_must_be_named(int8):
    with raises_code("precision", "int8"):
        open_engine(str(int8[0]), EngineOptions(engine="openvino"))


def test_too_large_a_drop_writes_nothing(exported, dev, tmp_path, monkeypatch):
    tried = []

    def rough(nncf, model, items, smooth):
        """A model that always answers the other label."""
        tried.append(smooth)
        return model

    def measure(model_dir, processor, rows, options):
        accuracy = 0.9 if options.precision == "fp32" else 0.89
        return [0] * len(rows), {"accuracy": accuracy, "weight_bytes": 1, "ms": {}}

    monkeypatch.setattr(quantize, "_quantize", rough)
    monkeypatch.setattr(quantize, "measure", measure)
    target = tmp_path / "int8"
    with raises_code("accuracy", "1.00", "--max_drop 0.5"):
        quantize.quantize_export(str(exported), str(target), CALIBRATION, dev, max_drop=0.5)
    assert tried == [True, False]
    assert list(tmp_path.iterdir()) == []
    report = quantize.quantize_export(str(exported), str(target), CALIBRATION, dev, max_drop=1.01)
    assert report["smooth_quant"]
    assert (target / "inference.xml").is_file()


def test_a_model_that_cannot_be_written(exported, tmp_path):
    import openvino

    (tmp_path / "inference.xml").mkdir()
    model = openvino.Core().read_model(exported / "inference.pdmodel")
    with raises_code("not-writable", tmp_path):
        quantize._write(model, str(tmp_path))


def test_calibration_has_one_length(exported):
    rows = [Row(text) for text in TEXTS]
    items = quantize.calibration_items(open_processor(str(exported)), rows)
    assert {item["input_ids"].shape for item in items} == {(1, 16)}
    assert items[3]["input_ids"][0, 3:].sum() == 0


def test_numbers_that_are_not_finite(int8, exported, dev, tiny_checkpoint, tmp_path):
    """A scale of the int8 model; a row of the float model, which would be hidden in a new file."""
    copy = without_manifest(Path(shutil.copytree(int8[0], tmp_path / "int8")))
    weights = copy / "inference.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with raises_code("not-finite", weights):
        open_exported(str(copy), INT8)
    broken = shutil.copytree(exported, tmp_path / "float")
    fill_row(broken / "inference.pdiparams", tiny_checkpoint, "story", np.nan)
    with raises_code("not-finite", broken):
        quantize.quantize_export(str(broken), str(tmp_path / "new"), CALIBRATION, dev)
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_quantized(int8, exported, dev, tmp_path):
    target = str(tmp_path / "x")
    with raises_code("calibration"):
        quantize.quantize_export(str(exported), target, [], dev)
    with raises_code("file-missing", "none"):
        quantize.quantize_export(str(tmp_path / "none"), target, CALIBRATION, dev)
    with raises_code("precision", int8[0]):
        quantize.quantize_export(str(int8[0]), target, CALIBRATION, dev)
    foreign = tmp_path / "foreign"
    shutil.copytree(exported, foreign)
    (foreign / "model_config.json").unlink()
    with raises_code("export", "model_config.json"):
        quantize.quantize_export(str(foreign), target, CALIBRATION, dev)
    (foreign / "inference.pdmodel").rename(foreign / "inference.json")  # as Paddle 3 names it
    with raises_code("engine", "inference.json", "2.6", "int8"):
        quantize.quantize_export(str(foreign), target, CALIBRATION, dev)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


def test_the_command(tmp_path, exported, dev, call_script):
    (tmp_path / "calib.txt").write_text("\n".join(TEXTS))
    rows = [f"{row.text}\t{row.label_id}" for row in dev]
    (tmp_path / "dev.tsv").write_text("\n".join(["sentence\tlabel", *rows]))
    flags = ["--model_dir", exported, "--calib_file", "calib.txt", "--calib_size", 3]
    judge = ["--dev_file", "dev.tsv", "--max_drop", 100, "--save_results", "done.json"]
    done = call_script(QUANTIZE, *flags, *judge)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "done.json").read_text())
    assert (report["texts"], report["dev_texts"]) == (3, 4)
    assert (tmp_path / "convbert_infer_int8" / "inference.xml").is_file()
    assert len(done.stdout.splitlines()) == 5  # no progress bars in a log


def test_the_command_needs_labelled_sentences(tmp_path, exported, call_script):
    (tmp_path / "calib.txt").write_text("\n".join(TEXTS))
    flags = ["--model_dir", exported, "--calib_file", "calib.txt"]
    assert_refused(call_script(QUANTIZE, *flags), "command-line", "--dev_file")
    done = call_script(QUANTIZE, "--engine", "paddle", *flags)  # as in version 1.0
    assert_refused(done, "command-line", "'paddle'", "openvino")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\ngood\tgreat\n")
    done = call_script(QUANTIZE, *flags, "--dev_file", "dev.tsv")
    assert_refused(done, "label", "dev.tsv, line 2", "positive")
    assert not (tmp_path / "convbert_infer_int8").exists()
