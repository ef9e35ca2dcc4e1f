"""The dynamic kernels and attention weights of every layer, recorded during a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import paddle


@dataclass
class Maps:
    """What the two kinds of heads computed, one array for each layer.

    Attributes:
        kernels: [B, N, L, K] float32 each: the taps of every position, with sum 1. Tap k weighs the
            position ``k - K // 2`` places to the right.
        attention: [B, N, L, L] float32 each: how position l weighs every position, with sum 1.
    """

    kernels: list[np.ndarray] = field(default_factory=list)
    attention: list[np.ndarray] = field(default_factory=list)


@contextmanager
def record_maps(body) -> Iterator[Maps]:
    """Record every forward pass of a body (`ConvBertModel`) during the block, with hooks.

    The body may compute its last layer only at the first token; pass ``output_hidden_states=True``
    to record all positions.
    """
    maps, handles = Maps(), []
    for layer in body.encoder.layers:
        mixed = layer.self_attn
        kinds = ((mixed.kernel_softmax, maps.kernels), (mixed.attention_softmax, maps.attention))
        for softmax, kept in kinds:
            handles.append(softmax.register_forward_post_hook(_keep_in(kept)))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _keep_in(kept: list[np.ndarray]):
    return lambda layer, inputs, output: kept.append(output.numpy())


@paddle.no_grad()
def maps_of(model, input_ids: np.ndarray, token_type_ids: np.ndarray) -> tuple[Maps, np.ndarray]:
    """Run a classifier once.

    Args:
        model: a `ConvBertForSequenceClassification` in evaluation mode.
        input_ids, token_type_ids: [B, L] int64.

    Returns:
        The maps of all layers and positions, and the logits [B, C] float32.
    """
    with record_maps(model.convbert) as maps:
        logits = model(
            paddle.to_tensor(input_ids),
            paddle.to_tensor(token_type_ids),
            output_hidden_states=True,
            return_dict=True,
        ).logits
    return maps, logits.numpy()
