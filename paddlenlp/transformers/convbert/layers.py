"""The layers that make ConvBERT: mixed attention and the grouped feed-forward layer.

Half of BERT's attention heads become convolutions over the neighbourhood (arXiv 2008.02496,
sections 3.2 and 3.3). Each position and head computes its own kernel from a span of words:

    kernel = softmax(W (Q * K_s))             K_s: a separable convolution over the input
    out[l] = sum_k kernel[l, k] v[l + k - K // 2]      v: conv_out_layer, not attention's values

Shapes: B batch, L length, H hidden, N heads of each kind, D head dimension, K kernel size.
Everything works for any B and L, in dygraph and in the exported program. Code that is unusual only
for speed or for the export is in `cpu_ops`. docs/architecture.md explains the names of the layers.
"""

from typing import NamedTuple

import paddle
from paddle import nn

from paddlenlp.transformers.convbert import cpu_ops
from paddlenlp.transformers.convbert.configuration import ConvBertConfig


class Shared(NamedTuple):
    """What all layers need of a batch, computed once: its padding, and zeros of its shape.

    Attributes:
        bias: [B, 1, 1, L] float, added to attention scores: 0 at tokens, very negative at padding.
        keep: [B, L, 1] float, multiplies the inputs of the convolutions: 1 at tokens, 0 at padding
            (or 1 everywhere, as in the reference, where padding leaks into its neighbours).
        zeros: [B, N, L, L] float, for `banded`.
    """

    bias: paddle.Tensor
    keep: paddle.Tensor
    zeros: paddle.Tensor


class MixedAttention(nn.Layer):
    """N self-attention heads beside N span-based dynamic convolution heads (section 3.3)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        hidden, width = config.hidden_size, config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.kernel_size = config.conv_kernel_size
        self.dropout = cpu_ops.Dropout(config.attention_probs_dropout_prob)
        self.q_proj = linear(config, hidden, width)
        self.k_proj = linear(config, hidden, width)
        self.v_proj = linear(config, hidden, width)
        self.out_proj = linear(config, 2 * width, hidden)
        self.key_conv_attn_layer = SeparableConv1D(config, width)
        self.conv_kernel_layer = linear(config, width, config.num_heads * self.kernel_size)
        self.conv_out_layer = linear(config, hidden, width)
        # Layers, so that forward hooks can record their outputs: see convbert/explain.
        self.attention_softmax = nn.Softmax()
        self.kernel_softmax = nn.Softmax()

    def forward(self, x, shared: Shared, first_token_only: bool = False) -> paddle.Tensor:
        """Mix x [B, L, H] over positions; returns [B, L, H], or [B, 1, H] for the first token."""
        source, (bias, keep, zeros) = x, shared
        if first_token_only:  # the positions that a convolution at the first token reads
            reach = self.kernel_size // 2 + 1
            x, keep, zeros = x[:, :reach], keep[:, :reach], zeros[:, :, :reach, :reach]
        query = self.q_proj(x)  # [B, L, N * D], shared by both kinds of heads
        attention = self._attend(query, source, bias)  # [B, N, L, D]
        convolution = self._convolve(query, x, keep, zeros)  # [B, N, L, D]
        mixed = paddle.concat([attention, convolution], axis=1)  # [B, 2N, L, D]
        mixed = self.out_proj(mixed.transpose([0, 2, 1, 3]).flatten(2))  # [B, L, H]
        return mixed[:, :1] if first_token_only else mixed

    def _attend(self, query, x, bias) -> paddle.Tensor:
        query = split_heads(query, self.num_heads) * self.head_dim**-0.5  # [B, N, L, D]
        key = split_heads(self.k_proj(x), self.num_heads)  # [B, N, L, D]
        value = split_heads(self.v_proj(x), self.num_heads)  # [B, N, L, D]
        scores = paddle.matmul(query, key, transpose_y=True)  # [B, N, L, L]
        weights = self.attention_softmax(cpu_ops.add_mask(scores, bias))  # [B, N, L, L]
        return paddle.matmul(self.dropout(weights), value)  # [B, N, L, D]

    def _convolve(self, query, x, keep, zeros) -> paddle.Tensor:
        values = self.conv_out_layer(x) * keep  # [B, L, N * D]
        span_key = self.key_conv_attn_layer(x * keep)  # [B, L, N * D], K_s
        kernels = self.conv_kernel_layer(span_key * query)  # [B, L, N * K], W (Q * K_s)
        kernels = self.kernel_softmax(split_heads(kernels, self.num_heads))  # [B, N, L, K]
        return span_dynamic_conv(values, kernels, zeros)  # [B, N, L, D]


def span_dynamic_conv(values, kernels, zeros) -> paddle.Tensor:
    """Weigh the neighbours of each position by its own kernel, as one matrix product (section 3.2).

    Args:
        values: [B, L, N * D] float; they are zero beyond both ends.
        kernels: [B, N, L, K] float, K odd, normalised by the caller.
        zeros: [B, N, L, L].

    Returns:
        [B, N, L, D] float.
    """
    return paddle.matmul(banded(kernels, zeros), split_heads(values, kernels.shape[1]))


def banded(kernels: paddle.Tensor, zeros: paddle.Tensor) -> paddle.Tensor:
    """Write the K taps of position l into row l of a square matrix, centred on the diagonal.

    This needs no arithmetic: append L zeros to each row of K taps, and read the same numbers as
    rows that are one shorter. Each row is then shifted one column further to the right. For
    L = K = 3 the rows [a b c 0 0 0] [d e f 0 0 0] [g h i 0 0 0] become [a b c 0 0] [0 d e f 0]
    [0 0 g h i]. The columns of taps beyond both ends, here the first and the last, are cut off.
    (If each layer made its own zeros, OpenVINO would prepare their shapes again in each layer,
    which takes longer than the product for one short text.)

    Args:
        kernels: [B, N, L, K] float, K odd.
        zeros: [B, N, L, L].

    Returns:
        [B, N, L, L] float, zero outside the band.
    """
    length, half = cpu_ops.axis_size(zeros, 3), kernels.shape[3] // 2
    if zeros.dtype != kernels.dtype:  # in float16 training, where softmax gives float32
        zeros = zeros.astype(kernels.dtype)
    flat = paddle.concat([kernels, zeros], axis=-1).reshape([0, 0, -1])  # [B, N, L * (L + K)]
    rows = flat[:, :, :-length].reshape([0, 0, length, -1])  # [B, N, L, L + K - 1]
    return rows[:, :, :, half:-half] if half else rows


def split_heads(x: paddle.Tensor, heads: int) -> paddle.Tensor:
    """[B, L, N * D] -> [B, N, L, D] for N = ``heads``."""
    return x.reshape([0, 0, heads, x.shape[-1] // heads]).transpose([0, 2, 1, 3])


class SeparableConv1D(nn.Layer):
    """Depthwise then pointwise convolution: the span-aware key K_s (section 3.2)."""

    def __init__(self, config: ConvBertConfig, out_features: int):
        super().__init__()
        hidden, taps, attr = config.hidden_size, config.conv_kernel_size, normal_attr(config)
        # These only hold the weights [H, 1, K] and [O, H, 1].
        self.depthwise = nn.Conv1D(
            hidden, hidden, taps, groups=hidden, weight_attr=attr, bias_attr=False
        )
        self.pointwise = nn.Conv1D(hidden, out_features, 1, weight_attr=attr, bias_attr=False)
        self.bias = self.create_parameter([out_features], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [B, L, H] to [B, L, O]."""
        x = cpu_ops.depthwise_conv(x, self.depthwise.weight)  # [B, L, H]
        x = paddle.matmul(x, self.pointwise.weight.squeeze(-1), transpose_y=True)  # [B, L, O]
        return cpu_ops.add_bias(x, self.bias)


class GroupedLinear(nn.Layer):
    """The grouped feed-forward layer (section 3.3): G linear layers, each for its share of x.

    ``weight`` [G, in / G, out / G], ``bias`` [out].
    """

    def __init__(self, config: ConvBertConfig, in_features: int, out_features: int):
        super().__init__()
        self.groups = config.num_groups
        self.group_in = in_features // self.groups
        self.out_features = out_features
        shape = [self.groups, self.group_in, out_features // self.groups]
        self.weight = self.create_parameter(shape, attr=normal_attr(config))
        self.bias = self.create_parameter([out_features], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [B, L, in] to [B, L, out]."""
        batch = cpu_ops.axis_size(x, 0)
        # Equal ranks, because Paddle broadcasts a 4-D by 3-D product wrongly in the gradient and if
        # fused.
        x = x.reshape([-1, self.groups, self.group_in]).transpose([1, 0, 2])  # [G, B * L, in / G]
        x = paddle.matmul(x, self.weight).transpose([1, 0, 2])  # [B * L, G, out / G]
        return cpu_ops.add_bias(x.reshape([batch, -1, self.out_features]), self.bias)


def linear(config: ConvBertConfig, in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with this model's initialisation."""
    return cpu_ops.Linear(in_features, out_features, weight_attr=normal_attr(config))


def layer_norm(config: ConvBertConfig, width: int) -> nn.LayerNorm:
    """A LayerNorm over the last axis with this model's epsilon."""
    return cpu_ops.LayerNorm(width, epsilon=config.layer_norm_eps)


def normal_attr(config: ConvBertConfig) -> paddle.ParamAttr:
    """Weights start from N(0, initializer_range); biases from zero (Paddle's default)."""
    initializer = nn.initializer.Normal(std=config.initializer_range)
    return paddle.ParamAttr(initializer=initializer)
