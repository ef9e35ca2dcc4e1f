"""The dynamic kernels and attention weights of every layer, recorded during a forward pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle


class Maps(NamedTuple):
    """What the two kinds of heads computed, one array for each layer, and the logits.

    Attributes:
        kernels: [B, N, L, K] float32 each: the taps of every position, with sum 1. Tap k weighs the
            position ``k - K // 2`` places to the right.
        attention: [B, N, L, L] float32 each: how position l weighs every position, with sum 1.
        logits: [B, C] float32.
    """

    kernels: list[np.ndarray]
    attention: list[np.ndarray]
    logits: np.ndarray


@paddle.no_grad()
def maps_of(model, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Maps:
    """Run a classifier once, with hooks.

    Args:
        model: a `ConvBertForSequenceClassification` in evaluation mode.
        input_ids, token_type_ids: [B, L] int64.
    """
    kernels, attention, hooks = [], [], []

    def keep(softmax, found: list[np.ndarray]) -> None:
        hook = softmax.register_forward_post_hook(
            lambda layer, inputs, output: found.append(output.numpy())
        )
        hooks.append(hook)

    for layer in model.convbert.encoder.layers:
        keep(layer.self_attn.kernel_softmax, kernels)
        keep(layer.self_attn.attention_softmax, attention)
    try:
        answer = model(
            paddle.to_tensor(input_ids),
            paddle.to_tensor(token_type_ids),
            output_hidden_states=True,  # or the last layer is computed only at the first token
            return_dict=True,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return Maps(kernels, attention, answer.logits.numpy())
