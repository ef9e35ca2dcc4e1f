"""The speed optimisations of the model; each function documents the plain computation.

There are two kinds:

- Hand-written gradients. On a CPU Paddle computes the gradients of a bias, a normalisation and a
  depthwise convolution slowly (column by column on one core); a few matrix products give the same
  numbers faster (`bash benchmarks/run.sh training` compares whole steps). They are used only in
  dygraph on a CPU, never on a GPU or in an exported program. ``PPNLP_CPU_OPS=0`` in the environment
  turns them off.
- Formulations that avoid an operator that is slow or cannot be exported.

Paddle calls hand-written gradients from C++ and turns every exception in them, including Ctrl-C,
into its own error: a training loop must delay signals during ``backward()`` or turn them off.
"""

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from paddlenlp.utils.env import cpu_ops_enabled

DROPOUT_STEPS = 1 << 16  # dropout uses 16 random bits, so its rate is exact to 1 / 65536
# Up to this many elements repeating an operand is faster than broadcasting it. A larger copy does
# not fit in the cache and is slower.
REPEAT_LIMIT = 1 << 20


class Linear(nn.Linear):
    """``paddle.nn.Linear`` with the bias gradient of `add_bias`; weight [in, out]."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map x [..., in] to [..., out]."""
        return add_bias(paddle.matmul(x, self.weight), self.bias)


class LayerNorm(nn.LayerNorm):
    """``paddle.nn.LayerNorm`` over the last axis with gradients as matrix products."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalise x [..., H]."""
        if _by_hand(x):
            return _LayerNorm.apply(x, self.weight, self.bias, self._epsilon)
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self._epsilon)


class Dropout(nn.Dropout):
    """``paddle.nn.Dropout``; on a CPU with random numbers of NumPy.

    Paddle draws one number at a time on a CPU; NumPy draws 16 bits per element.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """While training, zero a share ``p`` of the elements of x and scale the others."""
        dropped = round(self.p * DROPOUT_STEPS)
        if not (self.training and 0 < dropped < DROPOUT_STEPS and _by_hand(x)):
            return F.dropout(x, self.p, training=self.training)
        seed = paddle.randint(0, 2**31 - 1, [1]).item()  # so that paddle.seed determines it
        random = np.random.Generator(np.random.SFC64(seed))
        kept = random.integers(0, DROPOUT_STEPS, x.shape, dtype=np.uint16) >= dropped
        scale = np.float32(DROPOUT_STEPS / (DROPOUT_STEPS - dropped))
        return x * paddle.to_tensor(kept * scale, dtype=x.dtype)


def add_bias(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """``x + bias``, where the shape of ``bias`` is the end of the shape of ``x``."""
    return _AddBias.apply(x, bias) if _by_hand(x) else x + bias


def add_mask(scores: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """``scores + bias``: attention scores [B, N, L, M] and the bias [B, 1, 1, M] of padding."""
    # On a CPU, broadcasting the small tensor takes longer than repeating it first.
    return scores + (bias.expand_as(scores) if _on_cpu(scores) else bias)


def depthwise_conv(x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
    """Filter each channel of x [B, L, H] along L with zero padding; ``weight`` [H, 1, K], K odd."""
    if _by_hand(x):
        return _DepthwiseConv.apply(x, weight)
    if _on_cpu(x):
        return _shifted_sum(x, weight)
    # oneDNN's depthwise kernel needs NCHW; with its NLC Conv1D the next LayerNorm crashes.
    x = x.unsqueeze(1).transpose([0, 3, 1, 2])  # [B, H, 1, L]
    half, channels = weight.shape[-1] // 2, weight.shape[0]
    x = F.conv2d(x, weight.unsqueeze(2), padding=[0, half], groups=channels)
    return x.transpose([0, 2, 3, 1]).squeeze(1)


def axis_size(x: paddle.Tensor, axis: int):
    """Size of one axis: an int in dygraph, a tensor in a program.

    The caller must not branch on it: to_static would export a conditional block, which
    quantization, ONNX, OpenVINO and the graph passes cannot read.
    """
    return x.shape[axis] if paddle.in_dynamic_mode() else paddle.shape(x)[axis]


def _on_cpu(x: paddle.Tensor) -> bool:
    return paddle.in_dynamic_mode() and x.place.is_cpu_place() and cpu_ops_enabled()


def _by_hand(x: paddle.Tensor) -> bool:
    return _on_cpu(x) and paddle.is_grad_enabled()


def _repeat(x: paddle.Tensor, like: paddle.Tensor) -> paddle.Tensor:
    """Repeat x to the shape of ``like`` if that is faster than broadcasting it."""
    fits = np.prod(like.shape) <= REPEAT_LIMIT  # .size fails in a model that was exported before
    return x.expand(like.shape) if fits else x


def _pad_length(x: paddle.Tensor, half: int) -> paddle.Tensor:
    """Put ``half`` zeros before and after the positions: [B, L, H] -> [B, L + 2 half, H].

    F.pad does the same, but its gradient is slower on a CPU.
    """
    zeros = paddle.zeros([x.shape[0], half, x.shape[-1]], dtype=x.dtype)
    return paddle.concat([zeros, x, zeros], axis=1)


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
        centred = x - _repeat(paddle.matmul(x, average), x)
        scale = paddle.rsqrt(paddle.matmul(centred * centred, average) + ctx.epsilon)  # [R, 1]
        scale = _repeat(scale, x)
        normal = centred * scale
        weighted = weight.unsqueeze(-1) / hidden  # [H, 1]
        product = grad * normal
        along = normal * _repeat(paddle.matmul(product, weighted), x)
        mean = _repeat(paddle.matmul(grad, weighted), x)
        x_grad = (grad * _repeat(weight, x) - mean - along) * scale
        sums = _column_sums(product).squeeze(0), _column_sums(grad).squeeze(0)
        return (x_grad.reshape(shape), *sums)


class _DepthwiseConv(PyLayer):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return _shifted_sum(x, weight)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensor()
        length, taps = x.shape[1], weight.shape[-1]
        padded = _pad_length(x, taps // 2)
        sums = [_column_sums((padded[:, k : k + length] * grad).flatten(0, 1)) for k in range(taps)]
        weight_grad = paddle.concat(sums).transpose([1, 0]).unsqueeze(1)  # [H, 1, K]
        return _shifted_sum(grad, weight.flip(-1)), weight_grad


def _shifted_sum(x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
    """The convolution as K shifted copies, which is much faster than Paddle's own kernel."""
    length, taps = x.shape[1], weight.squeeze(1).transpose([1, 0])  # [K, H]
    padded = _pad_length(x, len(taps) // 2)  # [B, L + K - 1, H]
    total = padded[:, :length] * _repeat(taps[0], x)
    for k in range(1, len(taps)):
        total = total + padded[:, k : k + length] * _repeat(taps[k], x)
    return total
