"""Operators whose gradient (or random numbers) Paddle computes slowly on a CPU, written by hand.

Paddle reduces a broadcast operand's gradient column by column on one core, and draws dropout one
number at a time; the same results come from a few matrix products and NumPy, two to three times as
fast (benchmarks/bench_cpu_ops.py). They replace Paddle's only while a graph is recorded on a CPU:
on a GPU, without gradients and in an exported program Paddle's own run.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.autograd import PyLayer

DROPOUT_STEPS = 1 << 16  # dropout decides with 16 random bits, so a rate is exact to 1 / 65536
# Up to this many elements repeating an operand is twice as fast as broadcasting it; beyond, the
# copy no longer fits in the cache and costs more.
SPREAD_LIMIT = 1 << 20


def _by_hand(x: paddle.Tensor) -> bool:
    return paddle.in_dynamic_mode() and paddle.is_grad_enabled() and x.place.is_cpu_place()


def add_bias(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """``x + bias``, where the shape of ``bias`` is the end of the shape of ``x``."""
    return _AddBias.apply(x, bias) if _by_hand(x) else x + bias


def layer_norm(x, weight, bias, epsilon: float) -> paddle.Tensor:
    """Normalise x [..., H] over its last axis; ``weight`` and ``bias`` [H]."""
    if _by_hand(x):
        return _LayerNorm.apply(x, weight, bias, epsilon)
    return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon)


def dropout(x: paddle.Tensor, rate: float, training: bool) -> paddle.Tensor:
    """Zero a share ``rate`` of the elements and scale the others, as ``F.dropout``."""
    dropped = round(rate * DROPOUT_STEPS)
    if not (training and 0 < dropped < DROPOUT_STEPS and _by_hand(x)):
        return F.dropout(x, rate, training=training)
    seed = paddle.randint(0, 2**31 - 1, [1]).item()  # so that paddle.seed decides
    random = np.random.Generator(np.random.SFC64(seed))
    kept = random.integers(0, DROPOUT_STEPS, x.shape, dtype=np.uint16) >= dropped
    scale = np.float32(DROPOUT_STEPS / (DROPOUT_STEPS - dropped))
    return x * paddle.to_tensor(kept * scale, dtype=x.dtype)


def depthwise_conv(x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
    """Filter x [B, L, H] along L with zero padding; ``weight`` [H, 1, K], K odd. Dygraph only."""
    return _DepthwiseConv.apply(x, weight) if _by_hand(x) else _shifted_sum(x, weight)


def spread_bias(bias: paddle.Tensor, num_heads: int) -> paddle.Tensor:
    """[B, 1, 1, L] -> [B, N, L, L] where adding the small form to the scores is 6 times slower."""
    if not (paddle.in_dynamic_mode() and bias.place.is_cpu_place()):
        return bias
    batch, length = bias.shape[0], bias.shape[-1]
    return bias.expand([batch, num_heads, length, length])


def _spread(x: paddle.Tensor, like: paddle.Tensor) -> paddle.Tensor:
    """Repeat x to the shape of ``like`` where that is faster than broadcasting it."""
    fits = np.prod(like.shape) <= SPREAD_LIMIT  # .size fails in a model that was exported before
    return x.expand(like.shape) if fits else x


def _column_sums(x: paddle.Tensor) -> paddle.Tensor:
    """[R, O] -> [1, O], as a matrix product."""
    return paddle.matmul(paddle.ones([1, x.shape[0]], x.dtype), x)


class _AddBias(PyLayer):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.shape = bias.shape
        return x + bias

    @staticmethod
    def backward(ctx, grad):
        return grad, _column_sums(grad.reshape([-1, int(np.prod(ctx.shape))])).reshape(ctx.shape)


class _LayerNorm(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, bias, epsilon):
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensor()
        hidden, shape = x.shape[-1], grad.shape
        x, grad = x.reshape([-1, hidden]), grad.reshape([-1, hidden])  # [R, H]
        average = paddle.full([hidden, 1], 1.0 / hidden, x.dtype)
        centred = x - _spread(paddle.matmul(x, average), x)
        scale = paddle.rsqrt(paddle.matmul(centred * centred, average) + ctx.epsilon)  # [R, 1]
        scale = _spread(scale, x)
        normal = centred * scale
        weighted = weight.unsqueeze(-1) / hidden  # [H, 1]
        product = grad * normal
        along = normal * _spread(paddle.matmul(product, weighted), x)
        mean = _spread(paddle.matmul(grad, weighted), x)
        x_grad = (grad * _spread(weight, x) - mean - along) * scale
        sums = _column_sums(product).squeeze(0), _column_sums(grad).squeeze(0)
        return (x_grad.reshape(shape), *sums)


def _shifted_sum(x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
    # Paddle's own CPU kernel for this convolution is about ten times slower.
    length, taps = x.shape[1], weight.squeeze(1).transpose([1, 0])  # [K, H]
    padded = _padded(x, len(taps) // 2)
    total = padded[:, :length] * _spread(taps[0], x)
    for k in range(1, len(taps)):
        total = total + padded[:, k : k + length] * _spread(taps[k], x)
    return total


def _padded(x: paddle.Tensor, half: int) -> paddle.Tensor:
    """[B, L, H] -> [B, L + K - 1, H]."""
    return F.pad(x, [half, half], data_format="NLC")


class _DepthwiseConv(PyLayer):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return _shifted_sum(x, weight)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensor()
        length, kernel = x.shape[1], weight.shape[-1]
        padded = _padded(x, kernel // 2)
        sums = [
            _column_sums((padded[:, k : k + length] * grad).flatten(0, 1)) for k in range(kernel)
        ]
        weight_grad = paddle.concat(sums).transpose([1, 0]).unsqueeze(1)  # [H, 1, K]
        return _shifted_sum(grad, weight.flip(-1)), weight_grad
