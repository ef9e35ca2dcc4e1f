"""Checkpoint files: saving, strict loading, upstream's forms, damaged and hostile files."""

import builtins
import importlib.util
import json
import os
import pickle
import shutil
from collections import OrderedDict

import numpy as np
import paddle
import pytest

from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertModel, checkpoint
from tests.helpers.errors import raises_code
from tests.helpers.models import checkpoint_logits, logits_of
from tests.helpers.pickles import Call
from tests.helpers.weights import write_pdparams


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint that a test may change."""
    target = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint, target)
    return target


def rewrite(directory, change):
    """Change the named weights of a checkpoint."""
    path = directory / "model_state.pdparams"
    weights = checkpoint.read_weights(str(path))
    change(weights)
    write_pdparams(weights, path)


def test_save_and_load_give_equal_logits(tiny_config, tmp_path):
    model = ConvBertForSequenceClassification(tiny_config)
    model.save_pretrained(str(tmp_path / "saved"))
    loaded = ConvBertForSequenceClassification.from_pretrained(str(tmp_path / "saved"))
    assert loaded.config == tiny_config
    np.testing.assert_array_equal(checkpoint_logits(tmp_path / "saved"), logits_of(model))


def test_saving_replaces_all_or_nothing(tiny_config, copy, monkeypatch):
    model = ConvBertForSequenceClassification(tiny_config)
    before = sorted(os.listdir(copy))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", fail)
    with raises_code("not-writable", copy / "model_state.pdparams"):
        model.save_pretrained(str(copy))
    assert sorted(os.listdir(copy)) == before
    assert os.listdir(copy.parent) == [copy.name]


def test_upstream_form_of_a_checkpoint(copy, tiny_checkpoint):
    """PaddleNLP nests the body's arguments in those of the classifier."""
    ours = json.loads((copy / "model_config.json").read_text())
    architecture = ours.pop("architecture")
    body = {**ours, "init_class": "ConvBertModel"}
    upstream = {"init_args": [body], "num_classes": 2, "init_class": architecture}
    (copy / "model_config.json").write_text(json.dumps(upstream))
    with open(copy / "model_state.pdparams", "rb") as file:
        raw = pickle.load(file)
    assert "StructuredToParameterName@@" in raw  # Paddle's own table, which upstream has as well
    np.testing.assert_array_equal(checkpoint_logits(copy), checkpoint_logits(tiny_checkpoint))


def test_body_alone_starts_a_random_head(copy, capsys):
    rewrite(copy, lambda w: [w.pop(name) for name in list(w) if name.startswith("classifier.")])
    model = ConvBertForSequenceClassification.from_pretrained(str(copy))
    assert "ConvBertForSequenceClassification" in capsys.readouterr().err
    body = ConvBertModel.from_pretrained(str(copy))
    np.testing.assert_array_equal(logits_of(model.convbert), logits_of(body))
    with raises_code("weights", copy, "--model_name_or_path"):
        ConvBertForSequenceClassification.from_pretrained(str(copy), new_head=False)


def test_a_head_for_other_classes_is_replaced_by_a_random_one(copy, capsys):
    load = ConvBertForSequenceClassification.from_pretrained
    model = load(str(copy), num_classes=3)
    assert "ConvBertForSequenceClassification" in capsys.readouterr().err
    assert model.classifier.out_proj.bias.shape == [3]
    np.testing.assert_array_equal(logits_of(model.convbert), logits_of(load(str(copy)).convbert))
    with raises_code("label", "2 classes"):
        load(str(copy), new_head=False, num_classes=3)
    with raises_code("weights", "shape"):
        load(str(copy), hidden_size=20)


def test_a_head_is_left_out_of_the_body_unless_asked_to_be_strict(copy):
    model = ConvBertModel.from_pretrained(str(copy))
    whole = ConvBertForSequenceClassification.from_pretrained(str(copy))
    np.testing.assert_array_equal(logits_of(model), logits_of(whole.convbert))
    with raises_code("weights", "classifier.dense.bias"):
        ConvBertModel.from_pretrained(str(copy), new_head=False)
    surplus = {"convbert.encoder.layers.7.norm1.bias": np.zeros(16, np.float32)}
    rewrite(copy, lambda weights: weights.update(surplus))
    with raises_code("weights", "encoder.layers.7.norm1.bias"):
        ConvBertModel.from_pretrained(str(copy))


@pytest.mark.parametrize("classes", [1, 3])
def test_another_number_of_classes_is_named(copy, classes):
    config = json.loads((copy / "model_config.json").read_text())
    named = {**config, "id2label": {str(n): f"name {n}" for n in range(classes)}}
    del named["num_classes"]
    for changed in ({**config, "num_classes": classes}, named):
        (copy / "model_config.json").write_text(json.dumps(changed))
        with raises_code("label", "2 classes", classes):
            ConvBertForSequenceClassification.from_pretrained(str(copy), new_head=False)


def test_half_a_head_is_an_error(copy):
    rewrite(copy, lambda weights: weights.pop("classifier.dense.bias"))
    with raises_code("weights", "classifier.dense.bias"):
        ConvBertForSequenceClassification.from_pretrained(str(copy))


def test_foreign_weights_do_not_pass_as_a_body(copy):
    rewrite(copy, lambda w: (w.clear(), w.update(other=np.zeros(3, np.float32))))
    for model in (ConvBertModel, ConvBertForSequenceClassification):
        with raises_code("weights"):
            model.from_pretrained(str(copy))


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_weights_that_are_no_floats_are_named(copy, dtype):
    """As of a quantized checkpoint."""
    rewrite(copy, lambda weights: weights.update({"classifier.dense.bias": np.ones(16, dtype)}))
    with raises_code("weights", f"classifier.dense.bias {dtype}"):
        ConvBertForSequenceClassification.from_pretrained(str(copy))


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"<html>Not found</html>",
    "a list": lambda data: pickle.dumps([1, 2]),
    "no arrays": lambda data: pickle.dumps({"classifier.dense.bias": "zero"}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_one_line(copy, damage):
    path = copy / "model_state.pdparams"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with raises_code("file-damaged", "model_state.pdparams"):
        ConvBertForSequenceClassification.from_pretrained(str(copy))


@pytest.mark.parametrize("missing", ["model_config.json", "model_state.pdparams"])
def test_missing_files_are_named(copy, missing):
    (copy / missing).unlink()
    with raises_code("checkpoint", missing):
        ConvBertForSequenceClassification.from_pretrained(str(copy))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "file-damaged"),
        ("[1]", "file-damaged"),
        ("{}", "configuration"),
        ('{"hidden_size": "wide"}', "configuration"),
    ],
)
def test_bad_configuration_file(copy, content, code):
    (copy / "model_config.json").write_text(content)
    with raises_code(code, "model_config.json"):
        ConvBertForSequenceClassification.from_pretrained(str(copy))


@pytest.mark.parametrize("function", [os.system, exec, np.load, builtins.eval, np.fromfile])
def test_weights_run_no_code(copy, tmp_path, function):
    trace = tmp_path / "trace"
    command = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    state = OrderedDict(weight=np.zeros(2, np.float32), bad=Call(function, command))
    (copy / "model_state.pdparams").write_bytes(pickle.dumps(state))
    with raises_code("file-damaged"):
        ConvBertForSequenceClassification.from_pretrained(str(copy))
    assert not trace.exists()


def test_torch_file_without_torch(tmp_path):
    if importlib.util.find_spec("torch"):
        pytest.skip("torch is installed here; alignment/run.py reads such files with it")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with raises_code("package-missing", "model.safetensors"):
        checkpoint.read_weights(str(tmp_path / "pytorch_model.bin"))


def test_layouts_are_distinguished(tmp_path, copy):
    assert checkpoint.find_files(str(copy)) == ("model_config.json", "model_state.pdparams")
    (tmp_path / "model.safetensors").touch()
    with raises_code("checkpoint", "config.json"):
        checkpoint.find_files(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text("{}")
    with raises_code("checkpoint", "model.safetensors", "pytorch_model.bin"):
        checkpoint.find_files(str(tmp_path))
    (tmp_path / "pytorch_model.bin").touch()
    assert checkpoint.find_files(str(tmp_path)) == ("config.json", "pytorch_model.bin")
    (tmp_path / "model.safetensors").touch()
    assert checkpoint.find_files(str(tmp_path)) == ("config.json", "model.safetensors")
