"""The model: its parts against readable references, padding, masks, shapes."""

import dataclasses

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddlenlp import transformers
from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification, ConvBertModel
from paddlenlp.transformers.convbert import cpu_ops
from paddlenlp.transformers.convbert.layers import banded, span_dynamic_conv, split_heads


def nine_slices(values, kernels):
    """Span-based dynamic convolution as the paper tells it: K shifted copies, weighted and summed.

    values [B, L, N * D], kernels [B, N, L, K]; slow, and easy to check by reading.
    """
    _, heads, length, taps = kernels.shape
    values = split_heads(values, heads)
    padded = F.pad(values, [0, 0, taps // 2, taps // 2], data_format="NCHW")
    shifted = [padded[:, :, k : k + length] for k in range(taps)]
    windows = paddle.stack(shifted, axis=-1)  # [B, N, L, D, K]
    return (windows * kernels.unsqueeze(3)).sum(-1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (1, 2, 8), (3, 2, 9), (2, 1, 40)])
@pytest.mark.parametrize("taps", [1, 3, 9])
def test_dynamic_convolution_equals_nine_slices(shape, taps):
    batch, heads, length = shape
    paddle.seed(1)
    arrays = (
        paddle.randn([batch, length, heads * 5]),
        F.softmax(paddle.randn([batch, heads, length, taps])),
    )
    for tensor in arrays:
        tensor.stop_gradient = False
    weight = paddle.randn([batch, heads, length, 5])
    found = []
    zeros = paddle.zeros([batch, heads, length, length])
    for function in (lambda *inputs: span_dynamic_conv(*inputs, zeros), nine_slices):
        output = function(*arrays)
        gradients = paddle.grad((output * weight).sum(), list(arrays))
        found.append([output, *gradients])
    for ours, expected in zip(*found):
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_band_of_two_rows(dtype):
    taps = paddle.to_tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], dtype)
    band = banded(taps, paddle.zeros([1, 1, 2, 2], "float32"))
    assert band.dtype == taps.dtype
    assert band.numpy().tolist() == [[[[2, 3], [4, 5]]]]


def random_ids(config, batch, length):
    """Token ids [B, L] without padding."""
    ids = np.random.RandomState(length).randint(1, config.vocab_size, (batch, length))
    return paddle.to_tensor(ids.astype(np.int64))


@pytest.fixture(scope="module")
def model(tiny_config):
    """A random classifier."""
    paddle.seed(3)
    model = ConvBertForSequenceClassification(tiny_config)
    model.eval()
    return model


def pad(ids, columns, config):
    """Append columns of padding to ids [B, L]."""
    filler = paddle.full([ids.shape[0], columns], config.pad_token_id, dtype="int64")
    return paddle.concat([ids, filler], axis=1)


def with_field(model, **fields):
    """The same weights under another configuration."""
    other = type(model)(dataclasses.replace(model.config, **fields))
    other.set_state_dict(model.state_dict())
    other.eval()
    return other


@pytest.mark.parametrize("length", [1, 2, 8, 9, 17])
def test_padding_changes_nothing(model, length):
    ids = random_ids(model.config, 3, length)
    padded = pad(ids, 11, model.config)
    np.testing.assert_allclose(model(padded).numpy(), model(ids).numpy(), atol=2e-6)


def test_padding_leaks_when_the_field_is_false(model):
    leaking = with_field(model, mask_padding_in_conv=False)
    ids = random_ids(model.config, 3, 9)
    np.testing.assert_allclose(leaking(ids).numpy(), model(ids).numpy(), atol=2e-6)
    padded = pad(ids, 11, model.config)
    assert np.abs(leaking(padded).numpy() - leaking(ids).numpy()).max() > 1e-3


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_mask_equals_the_one_derived_from_padding(model, dtype):
    ids = pad(random_ids(model.config, 2, 9), 4, model.config)
    mask = (ids != model.config.pad_token_id).astype(dtype)
    np.testing.assert_array_equal(model(ids, attention_mask=mask).numpy(), model(ids).numpy())


def test_optional_inputs_have_their_defaults(model):
    ids = random_ids(model.config, 2, 9)
    positions = paddle.arange(9).expand([2, 9])
    explicit = model(ids, paddle.zeros_like(ids), positions, paddle.ones_like(ids))
    np.testing.assert_array_equal(explicit.numpy(), model(ids).numpy())
    assert np.abs(model(ids, paddle.ones_like(ids)).numpy() - explicit.numpy()).max() > 1e-3
    shifted = model(ids, position_ids=positions + 1)
    assert np.abs(shifted.numpy() - explicit.numpy()).max() > 1e-3


@pytest.mark.parametrize("length", [1, 2, 5, 6, 17])
@pytest.mark.parametrize("masked", [True, False])
def test_the_first_token_alone_is_the_first_of_all(model, length, masked):
    body = with_field(model, mask_padding_in_conv=masked).convbert
    ids = pad(random_ids(model.config, 3, length), 2, model.config)
    found = []
    for x in (body(ids, first_token_only=True), body(ids)[:, :1]):
        (x**3).sum().backward()
        found.append([x.numpy(), *(p.grad.numpy().copy() for p in body.parameters())])
        body.clear_gradients()
    assert found[0][0].shape == (3, 1, model.config.hidden_size)
    for ours, expected in zip(*found):
        np.testing.assert_allclose(ours, expected, atol=2e-6 * max(1.0, np.abs(expected).max()))


# What follows the body's dropouts in training mode, recorded from transformers 5.23.0.
HEAD_DROPOUTS = {
    "ConvBertForSequenceClassification": [([3, 16], 0.3), ([3, 16], 0.3)],
    "ConvBertForTokenClassification": [([3, 5, 16], 0.3)],
    "ConvBertForQuestionAnswering": [],
    "ConvBertGenerator": [],
}


@pytest.mark.parametrize("name", HEAD_DROPOUTS)
def test_dropout_acts_where_the_reference_has_it(tiny_config, name, monkeypatch):
    rates = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2}
    config = dataclasses.replace(tiny_config, classifier_dropout=0.3, **rates)
    model, seen, forward = getattr(transformers, name)(config), [], cpu_ops.Dropout.forward

    def recorded(layer, x):
        seen.append((x.shape, layer.p))
        assert layer.training
        return forward(layer, x)

    monkeypatch.setattr(cpu_ops.Dropout, "forward", recorded)
    model(random_ids(config, 3, 5))
    layer = [([3, 2, 5, 5], 0.2), ([3, 5, 16], 0.1), ([3, 5, 16], 0.1)]
    classifier = name == "ConvBertForSequenceClassification"  # its last layer: the first token
    last = [layer[0], ([3, 1, 16], 0.1), ([3, 1, 16], 0.1)] if classifier else layer
    assert seen == [([3, 5, 12], 0.1), *layer, *last, *HEAD_DROPOUTS[name]]


def test_a_new_model_starts_from_its_initializer_range(tiny_config):
    """Gains 1, biases 0, everything else N(0, initializer_range)."""
    config = dataclasses.replace(tiny_config, initializer_range=0.05, vocab_size=500)
    for name, tensor in ConvBertForSequenceClassification(config).named_parameters():
        array = tensor.numpy()
        if array.ndim > 1:
            margin = 4 / np.sqrt(array.size)  # four standard deviations of the mean
            assert abs(array.mean()) < 0.05 * margin, name
            assert array.std() == pytest.approx(0.05, rel=margin), name
        else:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            np.testing.assert_array_equal(array, expected, err_msg=name)


# Counted by transformers for its ConvBertModel of these sizes.
PARAMETERS = {
    "convbert-base": 105_680_520,
    "convbert-medium-small": 17_475_888,
    "convbert-small": 13_143_768,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes_have_all_their_parameters(name):
    config = ConvBertConfig.preset(name, num_hidden_layers=1, vocab_size=10)
    body = ConvBertModel(config)
    one = sum(int(np.prod(p.shape)) for p in body.parameters())
    layer = sum(int(np.prod(p.shape)) for p in body.encoder.layers[0].parameters())
    words = (30522 - 10) * config.embedding_size
    assert one + 11 * layer + words == PARAMETERS[name]
