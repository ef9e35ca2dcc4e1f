"""The recorded kernels and attention weights are those that the layers used."""

import numpy as np
import paddle
import pytest

from convbert.explain.explanation import maps_of
from convbert.inference.dygraph import load_classifier

TEXTS = ["the plot is not good , the story", "great film"]


@pytest.fixture(scope="module", name="recorded")
def _recorded(tiny_checkpoint):
    """Model, maps of two texts of different length, and inputs and outputs of sublayers by name."""
    model, processor = load_classifier(str(tiny_checkpoint))
    seen = {}
    for number, layer in enumerate(model.convbert.encoder.layers):
        for name in ("v_proj", "conv_out_layer", "out_proj"):
            key = number, name

            def keep(sublayer, inputs, output, key=key):
                seen[key] = inputs[0].numpy(), output.numpy()

            getattr(layer.self_attn, name).register_forward_post_hook(keep)
    ids, types = processor.collate(processor.encode(TEXTS))
    maps = maps_of(model, ids, types)[:2]
    return model, ids, maps, seen


def test_every_kernel_and_attention_row_sums_to_one(recorded):
    model, ids, maps, _ = recorded
    config, (batch, length) = model.config, ids.shape
    assert len(maps[0]) == len(maps[1]) == config.num_hidden_layers
    for kernels, attention in zip(*maps):
        assert kernels.shape == (batch, config.num_heads, length, config.conv_kernel_size)
        assert attention.shape == (batch, config.num_heads, length, length)
        assert kernels.min() >= 0
        assert attention.min() >= 0
        np.testing.assert_allclose(kernels.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)


def test_applying_them_again_gives_the_output_of_the_layer(recorded):
    model, ids, maps, seen = recorded
    keep = (ids != model.config.pad_token_id)[:, :, None]
    for number, layer in enumerate(model.convbert.encoder.layers):
        kernels, attention = (layers[number] for layers in maps)
        values = heads(seen[number, "conv_out_layer"][1] * keep, kernels.shape[1])
        length, half = values.shape[2], kernels.shape[3] // 2
        padded = np.pad(values, ((0, 0), (0, 0), (half, half), (0, 0)))
        convolved = sum(
            kernels[..., tap, None] * padded[:, :, tap : tap + length]
            for tap in range(kernels.shape[3])
        )
        attended = attention @ heads(seen[number, "v_proj"][1], kernels.shape[1])
        mixed = np.concatenate([attended, convolved], axis=1).transpose(0, 2, 1, 3)
        given, returned = seen[number, "out_proj"]
        np.testing.assert_allclose(mixed.reshape(given.shape), given, atol=1e-5)
        out = layer.self_attn.out_proj
        again = mixed.reshape(given.shape) @ out.weight.numpy() + out.bias.numpy()
        np.testing.assert_allclose(again, returned, atol=1e-5)


def heads(x: np.ndarray, count: int) -> np.ndarray:
    """[B, L, N * D] to [B, N, L, D]."""
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def test_the_hooks_are_removed(recorded):
    model, ids, maps, _ = recorded
    before = len(maps[0])
    model(paddle.to_tensor(ids))
    assert len(maps[0]) == before
