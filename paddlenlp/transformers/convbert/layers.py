"""The building blocks of ConvBERT: grouped linear, separable and span-based dynamic convolution.

Shapes: B batch, L length, H hidden, N heads of one kind, D head dimension, K kernel size.
Every function is right for any B and L both in dygraph and in the exported program.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddlenlp.transformers.convbert import cpu_ops
from paddlenlp.transformers.convbert.configuration import ConvBertConfig


def axis_size(x: paddle.Tensor, axis: int):
    """Size of one axis: an int in dygraph, a tensor in a program."""
    # No test on the size itself: to_static would export it as a conditional block per call, which
    # quantization, ONNX and the graph passes cannot read.
    return x.shape[axis] if paddle.in_dynamic_mode() else paddle.shape(x)[axis]


def normal_attr(config: ConvBertConfig) -> paddle.ParamAttr:
    """Weights start from N(0, initializer_range); biases from zero (Paddle's default)."""
    initializer = nn.initializer.Normal(std=config.initializer_range)
    return paddle.ParamAttr(initializer=initializer)


class Linear(nn.Linear):
    """A linear layer whose bias has a fast gradient on the CPU; weight [in, out]."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [..., in] to [..., out]."""
        return cpu_ops.add_bias(paddle.matmul(x, self.weight), self.bias)


class LayerNorm(nn.LayerNorm):
    """Normalisation over the last axis with a fast gradient on the CPU."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalise x [..., H]."""
        return cpu_ops.layer_norm(x, self.weight, self.bias, self._epsilon)


class Dropout(nn.Dropout):
    """Dropout with fast random numbers on the CPU."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Drop elements of x while training."""
        return cpu_ops.dropout(x, self.p, self.training)


def linear(config: ConvBertConfig, in_features: int, out_features: int) -> Linear:
    """A linear layer with this model's initialisation."""
    return Linear(in_features, out_features, weight_attr=normal_attr(config))


def layer_norm(config: ConvBertConfig, width: int) -> LayerNorm:
    """A LayerNorm over the last axis with this model's epsilon."""
    return LayerNorm(width, epsilon=config.layer_norm_eps)


class ConvZeros(NamedTuple):
    """The zeros around the dynamic convolutions of one batch: the same in all layers.

    Attributes:
        band: [B, N, L, L] float, what `banded` appends to the taps.
        edge: [B, K // 2, N * D] float, the values beyond either end of a sentence.
    """

    band: paddle.Tensor
    edge: paddle.Tensor


def conv_zeros(x: paddle.Tensor, config: ConvBertConfig) -> ConvZeros:
    """The zeros for a batch x [B, L, H]."""
    batch, length, heads = axis_size(x, 0), axis_size(x, 1), config.num_heads
    edge = [batch, config.conv_kernel_size // 2, heads * config.head_dim]
    band = paddle.zeros([batch, heads, length, length], dtype=x.dtype)
    return ConvZeros(band, paddle.zeros(edge, dtype=x.dtype))


class BatchContext(NamedTuple):
    """What every layer has to know of a batch.

    Attributes:
        bias: [B, 1 or N, 1 or L, L] float, added to attention scores; very negative at padding.
        keep: [B, L, 1] float, 0 at padding, to shut it out of both convolutions; None: leak.
        zeros: the zeros around the dynamic convolutions.
    """

    bias: paddle.Tensor
    keep: paddle.Tensor | None
    zeros: ConvZeros

    def of_the_first(self, count: int) -> BatchContext:
        """For outputs at the first ``count`` positions, attending to all."""
        keep = None if self.keep is None else self.keep[:, :count]
        zeros = ConvZeros(self.zeros.band[:, :, :count, :count], self.zeros.edge)
        return BatchContext(self.bias[:, :, :count], keep, zeros)


def split_heads(x: paddle.Tensor, count: int) -> paddle.Tensor:
    """[B, L, N * D] -> [B, N, L, D] for N = ``count``."""
    return x.reshape([0, 0, count, x.shape[-1] // count]).transpose([0, 2, 1, 3])


def banded(kernels: paddle.Tensor, zeros: paddle.Tensor) -> paddle.Tensor:
    """Spread the taps of every position along a diagonal band.

    Appending L zeros to each row of K taps and re-reading the same numbers in rows that are one
    shorter shifts row l to the right by l columns; nothing is computed.

    Args:
        kernels: [B, N, L, K] float.
        zeros: [B, N, L, L] float.

    Returns:
        [B, N, L, L + K - 1] float: row l holds its K taps from column l on, zeros elsewhere.
    """
    length = axis_size(kernels, 2)
    flat = paddle.concat([kernels, zeros], axis=-1).reshape([0, 0, -1])  # [B, N, L * (L + K)]
    return flat[:, :, :-length].reshape([0, 0, length, -1])


def span_dynamic_conv(values, kernels, zeros: ConvZeros) -> paddle.Tensor:
    """Span-based dynamic convolution (section 3.2): each position and head has its own K taps.

    ``out[b, n, l] = sum_k kernels[b, n, l, k] * values[b, l + k - K // 2, n]`` with zeros beyond
    both ends, as one batched matrix product.

    Args:
        values: [B, L, N * D] float.
        kernels: [B, N, L, K] float, K odd, normalised by the caller.
        zeros: those of the batch, from `conv_zeros`.

    Returns:
        [B, N, L, D] float.
    """
    # concat: F.pad is 30 times slower on a CPU
    padded = paddle.concat([zeros.edge, values, zeros.edge], axis=1)  # [B, L + K - 1, N * D]
    return paddle.matmul(banded(kernels, zeros.band), split_heads(padded, kernels.shape[1]))


class DepthwiseConv1D(nn.Layer):
    """One K-tap filter per channel with zero padding; ``weight`` [H, 1, K], no bias."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        self.half = config.conv_kernel_size // 2
        shape = [config.hidden_size, 1, config.conv_kernel_size]
        self.weight = self.create_parameter(shape, attr=normal_attr(config))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Filter x [B, L, H] along L; returns [B, L, H]."""
        if paddle.in_dynamic_mode():
            return cpu_ops.depthwise_conv(x, self.weight)
        # oneDNN's depthwise kernel wants NCHW; its NLC Conv1D crashes the next LayerNorm.
        x = x.transpose([0, 2, 1]).unsqueeze(2)  # [B, H, 1, L]
        x = F.conv2d(
            x, self.weight.unsqueeze(2), padding=[0, self.half], groups=self.weight.shape[0]
        )
        return x.squeeze(2).transpose([0, 2, 1])


class PointwiseConv1D(nn.Layer):
    """A convolution with one tap: a matrix product; ``weight`` [O, H, 1], no bias."""

    def __init__(self, config: ConvBertConfig, out_features: int):
        super().__init__()
        shape = [out_features, config.hidden_size, 1]
        self.weight = self.create_parameter(shape, attr=normal_attr(config))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [B, L, H] to [B, L, O]."""
        return paddle.matmul(x, self.weight.squeeze(-1), transpose_y=True)


class SeparableConv1D(nn.Layer):
    """Depthwise then pointwise convolution: the span-aware key of section 3.2."""

    def __init__(self, config: ConvBertConfig, out_features: int):
        super().__init__()
        self.depthwise = DepthwiseConv1D(config)
        self.pointwise = PointwiseConv1D(config, out_features)
        self.bias = self.create_parameter([out_features], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [B, L, H] to [B, L, O]."""
        return cpu_ops.add_bias(self.pointwise(self.depthwise(x)), self.bias)


class GroupedLinear(nn.Layer):
    """A block-diagonal linear layer (section 3.4); ``weight`` [G, in / G, out / G], bias [out]."""

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
        batch = axis_size(x, 0)
        # Equal ranks: Paddle broadcasts a 4-D by 3-D product wrongly, in the gradient and fused.
        x = x.reshape([-1, self.groups, self.group_in]).transpose([1, 0, 2])  # [G, B * L, in / G]
        x = paddle.matmul(x, self.weight).transpose([1, 0, 2])  # [B * L, G, out / G]
        return cpu_ops.add_bias(x.reshape([batch, -1, self.out_features]), self.bias)


class MixedAttention(nn.Layer):
    """Mixed attention (section 3.3): N self-attention heads beside N dynamic-convolution heads."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        hidden, width = config.hidden_size, config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.kernel_size = config.conv_kernel_size
        self.dropout = Dropout(config.attention_probs_dropout_prob)
        self.q_proj = linear(config, hidden, width)
        self.k_proj = linear(config, hidden, width)
        self.v_proj = linear(config, hidden, width)
        self.out_proj = linear(config, 2 * width, hidden)
        self.key_conv_attn_layer = SeparableConv1D(config, width)
        self.conv_kernel_layer = linear(config, width, config.num_heads * self.kernel_size)
        self.conv_out_layer = linear(config, hidden, width)

    def forward(self, x: paddle.Tensor, context: BatchContext) -> paddle.Tensor:
        """Mix x [B, L, H] over positions; returns [B, L, H]."""
        return self._mix(x, x, context)

    def first_token(self, x: paddle.Tensor, context: BatchContext) -> paddle.Tensor:
        """The mix of x [B, L, H] at the first token alone: [B, 1, H]."""
        reach = self.kernel_size // 2 + 1  # what its convolutions see
        return self._mix(x[:, :reach], x, context.of_the_first(reach))[:, :1]

    def _mix(self, x, source, context: BatchContext) -> paddle.Tensor:
        """Mix over ``source`` [B, M, H], of which x [B, L, H] is the start."""
        query = self.q_proj(x)  # [B, L, N * D]
        attention = self._attend(query, self.k_proj(source), self.v_proj(source), context.bias)
        convolution = self._convolve(query, x, context)
        mixed = paddle.concat([attention, convolution], axis=1)  # [B, 2N, L, D]
        return self.out_proj(mixed.transpose([0, 2, 1, 3]).flatten(2))

    def _attend(self, query, key, value, bias) -> paddle.Tensor:
        query, key, value = (split_heads(x, self.num_heads) for x in (query, key, value))
        scores = paddle.matmul(query * self.head_dim**-0.5, key, transpose_y=True) + bias
        return paddle.matmul(self.dropout(F.softmax(scores)), value)  # [B, N, L, D]

    def _convolve(self, query, x, context: BatchContext) -> paddle.Tensor:
        values = self.conv_out_layer(x)
        if context.keep is not None:
            x, values = x * context.keep, values * context.keep
        span_key = self.key_conv_attn_layer(x)
        kernels = self.conv_kernel_layer(span_key * query)  # [B, L, N * K]
        kernels = F.softmax(split_heads(kernels, self.num_heads))
        return span_dynamic_conv(values, kernels, context.zeros)
