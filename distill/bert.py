"""A frozen BERT encoder in Paddle: the teacher of hidden states.

Only the forward pass, read from a transformers folder. Shapes: B batch, L length, H hidden,
N heads, D head dimension.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import paddle
import paddle.nn.functional as F

from paddlenlp.transformers import checkpoint

PADDING_BIAS = -1e4
LAYER = "encoder.layer.{}."


class Attention(NamedTuple):
    """What one layer's attention did.

    Attributes:
        probabilities: [B, N, L, L] float, rows sum to 1.
        values: [B, N, L, D] float.
    """

    probabilities: paddle.Tensor
    values: paddle.Tensor


class FrozenBert:
    """BERT without a head.

    Args:
        folder: holds config.json and model.safetensors; the vocabulary is ConvBERT's.

    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(self, folder: str):
        checkpoint.require_files(
            folder, [checkpoint.HF_CONFIG_FILE, checkpoint.HF_WEIGHTS_FILE], "teacher"
        )
        self.config = checkpoint.read_json(os.path.join(folder, checkpoint.HF_CONFIG_FILE))
        self.num_layers = self.config["num_hidden_layers"]
        self.num_heads = self.config["num_attention_heads"]
        #: arrays by transformers' names; linear weights are [out, in]
        self.weights = checkpoint.read_weights(os.path.join(folder, checkpoint.HF_WEIGHTS_FILE))
        self._tensors = {
            name: paddle.to_tensor(array.T if _is_linear(name) else array)
            for name, array in self.weights.items()
            if name.startswith(("embeddings.", "encoder."))
        }

    @paddle.no_grad()
    def states(self, input_ids: paddle.Tensor) -> list[paddle.Tensor]:
        """Token ids [B, L] int64 -> the embeddings' and every layer's output, each [B, L, H]."""
        states, bias = [self.embed(input_ids)], self.padding_bias(input_ids)
        for layer in range(self.num_layers):
            states.append(self.layer(layer, states[-1], bias)[0])
        return states

    @paddle.no_grad()
    def embed(self, input_ids, token_type_ids=None, position_ids=None) -> paddle.Tensor:
        """Ids, each [B, L] int64 -> [B, L, H]; as defaults type 0 and positions 0 .. L-1."""
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        if position_ids is None:
            position_ids = paddle.arange(input_ids.shape[1], dtype="int64")
        words, positions, types = (
            F.embedding(ids, self._tensors[f"embeddings.{table}_embeddings.weight"])
            for ids, table in (
                (input_ids, "word"),
                (position_ids, "position"),
                (token_type_ids, "token_type"),
            )
        )
        return self._norm("embeddings.LayerNorm", words + positions + types)

    def padding_bias(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """[B, L] -> [B, 1, 1, L] float, very negative at padding."""
        padding = input_ids == self.config.get("pad_token_id", 0)
        return (padding.astype("float32") * PADDING_BIAS).unsqueeze([1, 2])

    @paddle.no_grad()
    def layer(
        self, layer: int, x: paddle.Tensor, bias: paddle.Tensor
    ) -> tuple[paddle.Tensor, Attention]:
        """One encoder layer on x [B, L, H]; returns its output and what its attention did."""
        name = LAYER.format(layer)
        attention = self._attend(name + "attention.self.", x, bias)
        mixed = paddle.matmul(attention.probabilities, attention.values)  # [B, N, L, D]
        mixed = mixed.transpose([0, 2, 1, 3]).flatten(2)
        mixed = self._linear(name + "attention.output.dense", mixed)
        x = self._norm(name + "attention.output.LayerNorm", x + mixed)
        inner = F.gelu(self._linear(name + "intermediate.dense", x))
        x = self._norm(name + "output.LayerNorm", x + self._linear(name + "output.dense", inner))
        return x, attention

    def _attend(self, name: str, x: paddle.Tensor, bias: paddle.Tensor) -> Attention:
        query, key, value = (
            self._linear(name + part, x)
            .reshape([0, 0, self.num_heads, x.shape[-1] // self.num_heads])
            .transpose([0, 2, 1, 3])
            for part in ("query", "key", "value")
        )  # [B, N, L, D] each
        scores = paddle.matmul(query * query.shape[-1] ** -0.5, key, transpose_y=True)
        return Attention(F.softmax(scores + bias), value)

    def _linear(self, name: str, x: paddle.Tensor) -> paddle.Tensor:
        return F.linear(x, self._tensors[name + ".weight"], self._tensors[name + ".bias"])

    def _norm(self, name: str, x: paddle.Tensor) -> paddle.Tensor:
        weight, bias = self._tensors[name + ".weight"], self._tensors[name + ".bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config["layer_norm_eps"])


def _is_linear(name: str) -> bool:
    return name.startswith("encoder.") and name.endswith(".weight") and "LayerNorm" not in name
