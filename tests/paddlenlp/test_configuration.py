"""Model configurations: what changes the answer is honoured or refused; layouts by content."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convbert.text.processing import TextProcessor
from paddlenlp.transformers import (
    ConvBertConfig,
    ConvBertForSequenceClassification,
    ConvBertTokenizer,
    checkpoint,
)
from paddlenlp.transformers.convbert.conversion import convert
from tests.conftest import without_manifest
from tests.helpers.errors import raises_code
from tests.helpers.models import checkpoint_logits
from tests.helpers.weights import write_pdparams, write_shards

FLAT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 8}
PAIR = {"0": "no", "1": "yes"}


WRONG_VALUES = {
    "hidden_size": ["16", 16.0, True, 0, -16, None, 10**9, 10**30, 18],
    "num_hidden_layers": [0, 10**6, "two"],
    "num_attention_heads": [3],
    "head_ratio": [4],
    "num_groups": [5],
    "conv_kernel_size": [8],
    "pad_token_id": [-1, "0", 30522],
    "hidden_dropout_prob": ["0.1", 1, 1.5, -0.1, math.nan, None],
    "classifier_dropout": ["0.1", True, 1.5],
    "initializer_range": [-1, math.inf],
    "layer_norm_eps": [0, "1e-12", math.nan],
    "mask_padding_in_conv": ["false", 0],
    "hidden_act": ["gelu_new", 3],
    "num_classes": [0, 2.5, "x", -1],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG_VALUES for value in WRONG_VALUES[field]]
)
def test_types_and_ranges(field, value):
    with raises_code("configuration", field):
        ConvBertConfig(**{**FLAT, field: value})


UNSUPPORTED = {
    "problem_type": "multi_label_classification",
    "is_decoder": True,
    "add_cross_attention": True,
    "position_embedding_type": "relative_key",
    "pruned_heads": {"0": [1]},
    "quantization_config": {"load_in_8bit": True},
}


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_keys_that_change_the_answer_are_refused_by_name(key):
    with raises_code("configuration", key, "here.json"):
        ConvBertConfig.from_dict({**FLAT, key: UNSUPPORTED[key]}, "here.json")


@pytest.mark.parametrize(
    ("classes", "problem"),
    [(1, "single_label_classification"), (2, "regression"), (3, "multi_label_classification")],
)
def test_the_problem_type_must_fit_the_classes(classes, problem):
    raw = {**FLAT, "num_labels": classes, "problem_type": problem}
    with raises_code("configuration", "problem_type", classes):
        ConvBertConfig.from_dict(raw)
    assert ConvBertConfig.from_dict(raw, num_classes=5).num_classes == 5  # a new head


def test_keys_that_change_nothing_are_ignored():
    raw = {
        **FLAT,
        "problem_type": "single_label_classification",
        "is_decoder": False,
        "use_cache": True,
        "chunk_size_feed_forward": 4,
        "torch_dtype": "float16",
        "pruned_heads": {},
    }
    assert ConvBertConfig.from_dict(raw) == ConvBertConfig(**FLAT)


@pytest.mark.parametrize(
    "counts",
    [{"num_labels": 3, "num_classes": 2}, {"num_labels": 3, "id2label": PAIR}],
)
def test_numbers_of_classes_must_agree(counts):
    with raises_code("configuration", "num_labels", 3, 2):
        ConvBertConfig.from_dict({**FLAT, **counts})


WRONG_LABELS = {
    "a list": {"id2label": ["no", "yes"]},
    "other ids": {"id2label": {"0": "no", "2": "yes"}},
    "words as ids": {"id2label": {"no": 0, "yes": 1}},
    "numbers as names": {"id2label": {"0": 0, "1": 1}},
    "a repeated name": {"id2label": {"0": "no", "1": "no"}},
    "an empty name": {"id2label": {"0": "no", "1": " "}},
    "another label2id": {"id2label": PAIR, "label2id": {"no": 1, "yes": 0}},
    "no table": {"label2id": [1, 2]},
    "one id for two names": {"label2id": {"a": 0, "b": 0}},
    "a word as a table": {"id2label": "a"},
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_label_names_that_cannot_be_used(case):
    with raises_code("label", "here.json"):
        ConvBertConfig.from_dict({**FLAT, **WRONG_LABELS[case]}, "here.json")


@pytest.fixture
def hf(tiny_checkpoint, tmp_path):
    """The tiny classifier in transformers' layout, to be changed, without a manifest."""
    convert(str(tiny_checkpoint), str(tmp_path / "hf"), "hf")
    return without_manifest(tmp_path / "hf")


def edit(path, **changes):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_label_names_are_read_from_id2label_without_conversion(hf):
    edit(hf / "tokenizer_config.json", label_names=None)
    edit(hf / "config.json", id2label=PAIR, label2id={"no": 0, "yes": 1})
    assert ConvBertTokenizer.from_pretrained(hf).label_names == ["no", "yes"]
    edit(hf / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id=None)
    assert ConvBertTokenizer.from_pretrained(hf).label_names is None


def test_label_names_of_two_files_must_agree(hf):
    edit(hf / "config.json", id2label=PAIR, label2id=None)
    with raises_code("tokenizer", "label_names", "config.json", "tokenizer_config.json"):
        ConvBertTokenizer.from_pretrained(hf)


def test_label_names_must_be_as_many_as_the_classes(tiny_checkpoint, tmp_path):
    target = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    edit(target / "tokenizer_config.json", label_names=["a", "b", "c"])
    with raises_code("label", 3, 2):
        TextProcessor.from_dir(str(target))


def write_layout(kind, source, hf, target):
    """Write the tiny checkpoint in one of the layouts that other libraries save."""
    shutil.copytree(hf, target)
    weights = checkpoint.read_weights(str(source / "model_state.pdparams"))
    theirs = load_file(hf / "model.safetensors")
    if kind.startswith("PaddleNLP"):
        (target / "model.safetensors").unlink()
        edit(target / "config.json", paddlenlp_version="2.6.1", num_labels=2, id2label=None)
        edit(target / "config.json", label2id=None, pad_token_id=0)
    if kind == "PaddleNLP, pdparams":
        write_pdparams(weights, target / "model_state.pdparams")
    elif kind == "PaddleNLP, safetensors":
        save_file(weights, target / "model.safetensors", metadata={"format": "np"})
    elif kind == "PaddleNLP, shards":
        shards = [f"model_state-0000{number}-of-00002.pdparams" for number in (1, 2)]
        index = target / "model_state.pdparams.index.json"
        write_shards(weights, index, shards, write_pdparams)
    elif kind == "transformers' names as pdparams":
        (target / "model.safetensors").unlink()
        write_pdparams(theirs, target / "model_state.pdparams")
    return target


LAYOUTS = [
    "transformers",
    "PaddleNLP, pdparams",
    "PaddleNLP, safetensors",
    "PaddleNLP, shards",
    "transformers' names as pdparams",
]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts_are_recognised_by_their_tensors(tiny_checkpoint, hf, tmp_path, kind):
    target = write_layout(kind, tiny_checkpoint, hf, tmp_path / "given")
    np.testing.assert_array_equal(checkpoint_logits(target), checkpoint_logits(tiny_checkpoint))
    convert(str(target), str(tmp_path / "converted"), "paddle")
    np.testing.assert_array_equal(
        checkpoint_logits(tmp_path / "converted"), checkpoint_logits(tiny_checkpoint)
    )


def test_mixed_names_are_refused(tiny_checkpoint, hf):
    ours = checkpoint.read_weights(str(tiny_checkpoint / "model_state.pdparams"))
    mixed = load_file(hf / "model.safetensors")
    name = "convbert.encoder.layers.0.self_attn.q_proj.weight"
    save_file({**mixed, name: ours[name]}, hf / "model.safetensors")
    with raises_code("checkpoint", name, "model.safetensors"):
        checkpoint_logits(hf)


def test_adapters_are_named_as_such(hf):
    weights = load_file(hf / "model.safetensors")
    lora = {"convbert.encoder.layer.0.attention.self.query.lora_A": np.zeros(2, np.float32)}
    save_file({**weights, **lora}, hf / "model.safetensors")
    with raises_code("checkpoint", "lora_A"):
        checkpoint_logits(hf)
    (hf / "model.safetensors").unlink()
    (hf / "adapter_config.json").write_text("{}")
    with raises_code("checkpoint", "adapter_config.json"):
        checkpoint_logits(hf)


@pytest.mark.parametrize("kind", ["pdparams", "safetensors"])
def test_bfloat16_as_paddle_stores_it(tiny_checkpoint, hf, tmp_path, kind):
    target = write_layout(f"PaddleNLP, {kind}", tiny_checkpoint, hf, tmp_path / "given")
    weights = checkpoint.read_weights(str(tiny_checkpoint / "model_state.pdparams"))
    cut = {n: a.view(np.uint32) & 0xFFFF0000 for n, a in weights.items()}
    halves = {n: (a >> 16).astype(np.uint16) for n, a in cut.items()}
    if kind == "pdparams":
        write_pdparams(halves, path := target / "model_state.pdparams")
    else:
        save_file(halves, path := target / "model.safetensors")
    found = checkpoint.read_weights(str(path))
    for name, array in cut.items():
        np.testing.assert_array_equal(found[name], array.view(np.float32))
    assert np.abs(checkpoint_logits(target) - checkpoint_logits(tiny_checkpoint)).max() < 0.1


@pytest.mark.parametrize("changes", [{}, {"num_groups": 1}, {"embedding_size": 16}])
def test_the_number_of_parameters(tiny_config, changes):
    config = dataclasses.replace(tiny_config, **changes, num_classes=3)
    model = ConvBertForSequenceClassification(config)
    assert config.parameter_count == sum(array.size for array in model.state_dict().values())


def test_a_model_that_does_not_fit_into_memory_is_not_built():
    config = ConvBertConfig(vocab_size=1 << 24, embedding_size=1 << 20, num_hidden_layers=1000)
    with raises_code("configuration", config.parameter_count):
        ConvBertForSequenceClassification(config)


FORMS = {
    "flat": ({**FLAT, "num_classes": 3}, 3, None),
    "nested": (
        {"init_args": [{**FLAT, "init_class": "ConvBertModel"}], "num_classes": 3, "dropout": 0.3},
        3,
        0.3,
    ),
    "by position": ({"init_args": [{**FLAT}, 4, 0.2], "init_class": "X"}, 4, 0.2),
    "transformers": ({**FLAT, "id2label": {"0": "a", "1": "b", "2": "c"}}, 3, None),
    "with nulls": ({**FLAT, "classifier_dropout": None, "pad_token_id": None}, 2, None),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_configuration(form):
    raw, classes, dropout = FORMS[form]
    config = ConvBertConfig.from_dict(raw)
    assert (config.hidden_size, config.num_classes, config.classifier_dropout) == (
        16,
        classes,
        dropout,
    )
    assert ConvBertConfig.from_dict(config.to_dict()) == config
