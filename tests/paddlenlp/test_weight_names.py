"""The table of tensor names, loading of transformers' layout, and conversion both ways."""

import dataclasses
import json
import shutil

import numpy as np
import paddle
import pytest
from safetensors import serialize
from safetensors.numpy import load_file, save_file

from paddlenlp import transformers
from paddlenlp.transformers import ConvBertTokenizer, checkpoint
from paddlenlp.transformers.convbert import weight_names
from paddlenlp.transformers.convbert.conversion import convert
from tests.helpers.errors import assert_refused, raises_code
from tests.helpers.models import checkpoint_logits
from tests.helpers.weights import write_shards

TOOL = "tools/convert_weights.py"
INDEX = "model.safetensors.index.json"
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


def build(architecture, config):
    """A model with random weights."""
    paddle.seed(5)
    model = getattr(transformers, architecture)(config)
    model.eval()
    return model


def arrays_of(model):
    """The state dict as arrays."""
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("architecture", weight_names.HEADS)
def test_table_covers_every_tensor_and_turns_back(tiny_config, architecture, groups, projected):
    width = 12 if projected else tiny_config.hidden_size
    config = dataclasses.replace(tiny_config, num_groups=groups, embedding_size=width)
    weights = arrays_of(build(architecture, config))
    renamed = weight_names.to_hf(weights, architecture)
    settings = weight_names.HEADS[architecture].hf_settings
    back = weight_names.to_paddle(renamed, weights, architecture, settings)
    assert set(back) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_layers_ten_and_one_are_distinct():
    name = weight_names.hf_name("encoder.layers.10.self_attn.q_proj.weight", "ConvBertModel")
    assert name == "encoder.layer.10.attention.self.query.weight"


@pytest.fixture(scope="module")
def hf_checkpoint(tmp_path_factory, tiny_checkpoint):
    """The tiny classifier in transformers' layout."""
    target = tmp_path_factory.mktemp("hf") / "model"
    convert(str(tiny_checkpoint), str(target), "hf")
    return target


def test_config_for_transformers(hf_checkpoint):
    config = json.loads((hf_checkpoint / "config.json").read_text())
    assert config["architectures"] == ["ConvBertForSequenceClassification"]
    assert config["model_type"] == "convbert"
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["num_groups"] == 2
    assert "num_classes" not in config


def copy_with(source, target, weights=None, **config):
    """A changed copy of a checkpoint in transformers' layout."""
    target.mkdir()
    settings = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**settings, **config}))
    tensors = load_file(source / "model.safetensors")
    save_file({**tensors, **(weights or {})}, target / "model.safetensors")
    return tensors


def test_body_without_prefix_and_old_buffers(hf_checkpoint, tmp_path):
    """Checkpoints of older versions: no prefix, and a constant table among the weights."""
    tensors = load_file(hf_checkpoint / "model.safetensors")
    body = {n[len("convbert.") :]: a for n, a in tensors.items() if n.startswith("convbert.")}
    (tmp_path / "config.json").write_text((hf_checkpoint / "config.json").read_text())
    buffer = {"embeddings.position_ids": np.arange(64)[None]}
    save_file({**body, **buffer}, tmp_path / "model.safetensors")
    model = transformers.ConvBertModel.from_pretrained(str(tmp_path), new_head=False)
    words = model.embeddings.word_embeddings.weight.numpy()
    np.testing.assert_array_equal(words, body["embeddings.word_embeddings.weight"])
    # The same file starts a classifier with a random head; asked to be strict, it is refused.
    transformers.ConvBertForSequenceClassification.from_pretrained(str(tmp_path))
    with raises_code("weights", tmp_path, "--model_name_or_path"):
        transformers.ConvBertForSequenceClassification.from_pretrained(
            str(tmp_path), new_head=False
        )


def test_left_over_and_missing_tensors_are_named(hf_checkpoint, tmp_path):
    extra = {"convbert.encoder.layer.7.output.dense.bias": np.zeros(16, np.float32)}
    copy_with(hf_checkpoint, tmp_path / "extra", extra)
    with raises_code("weights", "convbert.encoder.layer.7.output.dense.bias"):
        checkpoint_logits(tmp_path / "extra")
    copy_with(hf_checkpoint, tmp_path / "deeper", num_hidden_layers=3)
    with raises_code("weights", "convbert.encoder.layers.2"):
        checkpoint_logits(tmp_path / "deeper")
    wrong = {"classifier.out_proj.weight": np.zeros((5, 16), np.float32)}
    copy_with(hf_checkpoint, tmp_path / "shape", wrong)
    with raises_code("weights", "classifier.out_proj.weight [16, 5]"):
        checkpoint_logits(tmp_path / "shape")


@pytest.mark.parametrize(
    ("stored", "numpy", "read"),
    [
        ("bfloat16", "u2", "f4"),  # the upper half of float32; NumPy has no such type
        ("float16", "f2", "f4"),
        ("float32", "f4", "f4"),
        ("float64", "f8", "f4"),
        ("int64", "i8", "i8"),
        ("uint8", "u1", "u1"),
        ("bool", "?", "?"),
    ],
)
def test_floating_point_numbers_become_single(tmp_path, stored, numpy, read):
    values = np.array([[1.5, -2.0, 0.0], [0.25, 1.0, 8.0]], np.float32)
    is_brain = stored == "bfloat16"
    data = (values.view(np.uint32) >> 16 if is_brain else np.abs(values)).astype(numpy)
    tensor = {"dtype": stored, "shape": data.shape, "data": data.tobytes()}
    (tmp_path / "x.safetensors").write_bytes(serialize({"x": tensor}))
    found = checkpoint.read_weights(str(tmp_path / "x.safetensors"))["x"]
    assert found.dtype == np.dtype(read)
    np.testing.assert_array_equal(found, values if is_brain else data)


def test_weights_in_several_files(hf_checkpoint, tmp_path):
    tensors = copy_with(hf_checkpoint, tmp_path / "shards")
    (tmp_path / "shards" / "model.safetensors").unlink()
    write_shards(tensors, tmp_path / "shards" / INDEX, SHARDS, save_file)
    parts = checkpoint_logits(tmp_path / "shards")
    np.testing.assert_array_equal(parts, checkpoint_logits(hf_checkpoint))
    (tmp_path / "shards" / SHARDS[1]).unlink()
    with raises_code("checkpoint", SHARDS[1]):
        checkpoint_logits(tmp_path / "shards")


def test_a_wrong_list_of_files_is_named(hf_checkpoint, tmp_path):
    index = tmp_path / INDEX
    tensors = load_file(hf_checkpoint / "model.safetensors")
    places = write_shards(tensors, index, SHARDS, save_file)
    for name, file in (("no.such", SHARDS[0]), ("away", f"../{SHARDS[0]}"), ("itself", INDEX)):
        index.write_text(json.dumps({"weight_map": {**places, name: file}}))
        with raises_code("file-damaged", index):
            checkpoint.read_weights(str(index))


OTHERS = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "init_class": "ElectraModel",
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_kind_of_model_is_refused_by_name(hf_checkpoint, tmp_path, field):
    copy_with(hf_checkpoint, tmp_path / "other", **{field: OTHERS[field]})
    kind = OTHERS[field][0] if isinstance(OTHERS[field], list) else OTHERS[field]
    with raises_code("checkpoint", "config.json", kind):
        transformers.ConvBertForSequenceClassification.from_pretrained(str(tmp_path / "other"))
    with raises_code("checkpoint", "config.json", kind):
        convert(str(tmp_path / "other"), str(tmp_path / "out"), "paddle")
    assert not (tmp_path / "out").exists()


def test_untied_generator_is_refused(tiny_config, tmp_path):
    build("ConvBertGenerator", tiny_config).save_pretrained(str(tmp_path / "ours"))
    convert(str(tmp_path / "ours"), str(tmp_path / "hf"), "hf")
    words = load_file(tmp_path / "hf" / "model.safetensors")[
        "convbert.embeddings.word_embeddings.weight"
    ]
    load = transformers.ConvBertGenerator.from_pretrained
    copy_with(tmp_path / "hf", tmp_path / "tied", {"generator_lm_head.weight": words})
    load(str(tmp_path / "tied"), new_head=False)
    copy_with(tmp_path / "hf", tmp_path / "untied", {"generator_lm_head.weight": words + 1})
    with raises_code("checkpoint", "generator_lm_head.weight"):
        load(str(tmp_path / "untied"), new_head=False)


def test_another_summary_of_multiple_choice_is_refused(tiny_config, tmp_path):
    build("ConvBertForMultipleChoice", tiny_config).save_pretrained(str(tmp_path / "ours"))
    convert(str(tmp_path / "ours"), str(tmp_path / "hf"), "hf")
    copy_with(tmp_path / "hf", tmp_path / "last", summary_type="last")
    with raises_code("checkpoint", "summary_type", "last"):
        transformers.ConvBertForMultipleChoice.from_pretrained(str(tmp_path / "last"))


def words_of(checkpoint):
    """The vocabulary of a checkpoint, by word."""
    words = (checkpoint / "vocab.txt").read_text().splitlines()
    return {word: number for number, word in enumerate(words)}


def test_vocabulary_inside_tokenizer_json(hf_checkpoint, tiny_checkpoint, tmp_path):
    """Newer versions of transformers save no vocab.txt."""
    copy_with(hf_checkpoint, tmp_path / "new")
    vocab = words_of(tiny_checkpoint)
    words = list(vocab)
    content = {"model": {"type": "WordPiece", "vocab": vocab}}
    (tmp_path / "new" / "tokenizer.json").write_text(json.dumps(content))
    convert(str(tmp_path / "new"), str(tmp_path / "out"), "paddle")
    assert (tmp_path / "out" / "vocab.txt").read_text().splitlines() == words
    vocab["movie"] = len(vocab) + 5
    (tmp_path / "new" / "tokenizer.json").write_text(json.dumps(content))
    with raises_code("vocabulary", len(words) + 6, len(words)):  # more words than rows
        convert(str(tmp_path / "new"), str(tmp_path / "out2"), "paddle")
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize(
    ("file", "padding"), [("vocab.txt", 0), ("tokenizer.json", 0), ("weights alone", 1)]
)
def test_the_vocabulary_tells_the_padding_word(hf_checkpoint, tmp_path, file, padding):
    """The default of transformers' class is 1, also beside vocabularies with [PAD] as word 0."""
    source = tmp_path / "source"
    copy_with(hf_checkpoint, source, pad_token_id=1)
    if file == "vocab.txt":
        shutil.copy(hf_checkpoint / file, source / file)
    elif file == "tokenizer.json":
        model = {"type": "WordPiece", "vocab": words_of(hf_checkpoint)}
        (source / file).write_text(json.dumps({"model": model}))
    load = transformers.ConvBertForSequenceClassification.from_pretrained
    assert load(str(source)).config.pad_token_id == padding
    assert load(str(source), pad_token_id=2).config.pad_token_id == 2
    convert(str(source), str(tmp_path / "target"), "paddle")
    config = json.loads((tmp_path / "target" / "model_config.json").read_text())
    assert config["pad_token_id"] == padding


def test_the_tool_converts_both_ways_and_changes_nothing(call_script, tiny_checkpoint, tmp_path):
    hf, back = tmp_path / "hf", tmp_path / "back"
    there = call_script(TOOL, "--input_dir", tiny_checkpoint, "--output_dir", hf, "--to", "hf")
    again = call_script(TOOL, "--input_dir", hf, "--output_dir", back)
    assert (there.returncode, again.returncode) == (0, 0), there.stderr + again.stderr
    assert "ConvBertForSequenceClassification" in there.stdout
    assert (back / "model_state.pdparams").is_file()
    for directory in (hf, back):
        found = checkpoint_logits(directory)
        np.testing.assert_array_equal(found, checkpoint_logits(tiny_checkpoint))
    assert ConvBertTokenizer.from_pretrained(back).label_names == ["negative", "positive"]


@pytest.mark.parametrize(
    ("source", "architecture", "fact"),
    [
        ("nowhere", None, "nowhere"),
        ("silent", None, "--architecture"),
        ("tiny", "Bert", "ConvBertGenerator"),
    ],
)
def test_tool_names_user_mistakes(
    call_script, tiny_checkpoint, hf_checkpoint, tmp_path, source, architecture, fact
):
    copy_with(hf_checkpoint, tmp_path / "silent", architecture=None, architectures=None)
    source = tiny_checkpoint if source == "tiny" else source
    flags = ["--architecture", architecture] if architecture else []
    result = call_script(TOOL, "--input_dir", source, *flags, "--output_dir", "out")
    assert_refused(result, "file-missing" if source == "nowhere" else "model-name", fact)
    assert not (tmp_path / "out").exists()


def test_damaged_file(hf_checkpoint, tmp_path):
    copy_with(hf_checkpoint, tmp_path / "cut")
    data = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(data[: len(data) // 2])
    with raises_code("file-damaged", "model.safetensors"):
        transformers.ConvBertModel.from_pretrained(str(tmp_path / "cut"))


def test_a_name_with_and_without_the_prefix_is_ambiguous(hf_checkpoint, tmp_path):
    twin = {"embeddings.word_embeddings.weight": np.zeros((28, 12), np.float32)}
    copy_with(hf_checkpoint, tmp_path / "twin", twin)
    with raises_code("weights", "embeddings.word_embeddings.weight"):
        transformers.ConvBertForSequenceClassification.from_pretrained(str(tmp_path / "twin"))
