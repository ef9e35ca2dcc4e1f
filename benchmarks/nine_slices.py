"""The design of the original port, to compare with: four forms replaced in this model.

Nine padded slices are stacked and multiplied, the depthwise convolution is an NLC Conv1D,
positions are counted by cumsum, and the last layer is computed at every token. Under
oneDNN (2.6.2) that cumsum gives wrong positions.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import paddle
import paddle.nn.functional as F

from paddlenlp.transformers.convbert import layers, modeling


def nine_slice_design() -> ExitStack:
    """Replace the four forms that differ, for as long as the context lasts."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(layers, "span_dynamic_conv", _dynamic_conv))
    stack.enter_context(mock.patch.object(layers.DepthwiseConv1D, "forward", _depthwise))
    stack.enter_context(mock.patch.object(modeling.paddle, "arange", _arange))
    layer, forward = modeling.ConvBertLayer, modeling.ConvBertLayer.forward
    whole = mock.patch.object(layer, "forward", lambda self, x, mask, *_: forward(self, x, mask))
    stack.enter_context(whole)
    return stack


def _dynamic_conv(values, kernels):
    values = layers.split_heads(values, kernels.shape[1])
    taps, length = kernels.shape[-1], paddle.shape(values)[2]
    half = taps // 2
    slices = [
        paddle.slice(F.pad(values, [0, 0, half, half], data_format="NCHW"), [2], [k], [k + length])
        for k in range(taps)
    ]
    windows = paddle.stack(slices, axis=-1)  # [B, N, L, D, K]
    return paddle.matmul(windows, kernels.unsqueeze(-1)).squeeze(-1)


def _depthwise(self, x):
    width, _, taps = self.weight.shape
    return F.conv1d(x, self.weight, padding=taps // 2, groups=width, data_format="NLC")


def _arange(length, dtype):
    return paddle.cumsum(paddle.ones(length.unsqueeze(0), dtype=dtype)) - 1
