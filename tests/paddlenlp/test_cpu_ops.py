"""The hand-written CPU operators equal Paddle's own, forward and backward."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification
from paddlenlp.transformers.convbert import cpu_ops
from paddlenlp.transformers.convbert.layers import GroupedLinear


def _values_and_gradients(function, arrays, by_hand, monkeypatch):
    """Output of ``function`` and the gradient of each array, for one fixed output gradient."""
    monkeypatch.setenv("PPNLP_CPU_OPS", "1" if by_hand else "0")
    tensors = [paddle.to_tensor(array, stop_gradient=False) for array in arrays]
    output = function(*tensors)
    upstream = np.random.RandomState(7).randn(*output.shape).astype(np.float32)
    output.backward(paddle.to_tensor(upstream))
    return [output.numpy()] + [tensor.grad.numpy() for tensor in tensors]


def layer_norm(x, weight, bias):
    """The layer with these parameters."""
    layer = cpu_ops.LayerNorm(8, epsilon=1e-5)
    del layer.weight, layer.bias  # parameters, which must be replaced by tensors with gradients
    layer.weight, layer.bias = weight, bias
    return layer(x)


def dropout(x, rate, training=True):
    """The layer of this rate."""
    layer = cpu_ops.Dropout(rate)
    layer.training = training
    return layer(x)


CASES = {
    "bias of rows": (cpu_ops.add_bias, [(3, 5, 8), (8,)]),
    "bias of a vector batch": (cpu_ops.add_bias, [(3, 8), (8,)]),
    "positions": (cpu_ops.add_bias, [(3, 5, 8), (5, 8)]),
    "layer norm": (layer_norm, [(3, 5, 8), (8,), (8,)]),
    "depthwise": (cpu_ops.depthwise_conv, [(3, 11, 8), (8, 1, 9)]),
    "mask": (cpu_ops.add_mask, [(3, 2, 5, 5), (3, 1, 1, 5)]),
    "depthwise shorter than the kernel": (cpu_ops.depthwise_conv, [(2, 1, 8), (8, 1, 9)]),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_paddle(case, monkeypatch):
    function, shapes = CASES[case]
    random = np.random.RandomState(3)
    arrays = [random.randn(*shape).astype(np.float32) for shape in shapes]
    ours = _values_and_gradients(function, arrays, True, monkeypatch)
    paddles = _values_and_gradients(function, arrays, False, monkeypatch)
    for ours_array, paddle_array in zip(ours, paddles):
        np.testing.assert_allclose(ours_array, paddle_array, atol=4e-6)


@pytest.mark.parametrize("switch", ["1", "0"])
def test_the_switch_turns_gradients_by_hand_off(tiny_config, monkeypatch, switch):
    monkeypatch.setenv("PPNLP_CPU_OPS", switch)
    called = []
    for name in ("_AddBias", "_LayerNorm", "_DepthwiseConv"):
        operator = getattr(cpu_ops, name)
        backward = operator.backward
        record = staticmethod(lambda *a, n=name, f=backward: (called.append(n), f(*a))[1])
        monkeypatch.setattr(operator, "backward", record)
    model = ConvBertForSequenceClassification(tiny_config)
    model(paddle.to_tensor([[2, 9, 10, 3]])).sum().backward()
    expected = {"_AddBias", "_LayerNorm", "_DepthwiseConv"} if switch == "1" else set()
    assert set(called) == expected


def test_depthwise_is_a_convolution():
    random = np.random.RandomState(3)
    x, weight = random.randn(2, 13, 4), random.randn(4, 1, 9)
    x, weight = (paddle.to_tensor(a.astype(np.float32), stop_gradient=False) for a in (x, weight))
    expected = F.conv1d(x.transpose([0, 2, 1]), weight, padding=4, groups=4)
    found = cpu_ops.depthwise_conv(x, weight)
    np.testing.assert_allclose(found.numpy(), expected.transpose([0, 2, 1]).numpy(), atol=1e-5)


def test_dropout_has_the_rate_the_scale_and_the_seed():
    x = paddle.ones([400, 500])
    x.stop_gradient = False
    paddle.seed(11)
    first = dropout(x, 0.1)
    zeros = float((first == 0).astype("float32").mean())
    assert abs(zeros - 0.1) < 0.003  # four standard deviations of 200,000 draws
    kept = first.numpy()[first.numpy() != 0]
    np.testing.assert_allclose(kept, 1 / 0.9, rtol=1e-4)
    first.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), first.numpy())
    second = dropout(x, 0.1)
    assert not np.array_equal(first.numpy(), second.numpy())
    paddle.seed(11)
    np.testing.assert_array_equal(dropout(x, 0.1).numpy(), first.numpy())


@pytest.mark.parametrize(
    ("rate", "training", "kept"), [(0.1, False, 1), (0.0, True, 1), (1.0, True, 0)]
)
def test_dropout_of_nothing_or_everything(rate, training, kept):
    x = paddle.rand([5, 7])
    x.stop_gradient = False
    np.testing.assert_array_equal(dropout(x, rate, training).numpy(), kept * x.numpy())


def test_a_grouped_linear_layer_and_its_gradient():
    config = ConvBertConfig.preset("convbert-medium-small", hidden_size=16, num_attention_heads=4)
    layer = GroupedLinear(config, 16, 32)
    layer.bias.set_value(np.arange(32, dtype=np.float32))
    x = paddle.randn([3, 5, 16])
    x.stop_gradient = False
    output = layer(x)
    expected = [
        np.einsum("bli,io->blo", x.numpy()[..., part], weight)
        for part, weight in zip((slice(0, 8), slice(8, 16)), layer.weight.numpy())
    ]
    expected = np.concatenate(expected, -1) + layer.bias.numpy()
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)
    output.sum().backward()
    row_sums = layer.weight.numpy().sum(-1).flatten()  # [H]: the gradient of every row of x
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(row_sums, x.shape), atol=1e-6)
