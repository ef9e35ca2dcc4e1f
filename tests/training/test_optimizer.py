"""Layer-wise learning rates and weight decay, by parameter name, for every size."""

import numpy as np
import paddle
import pytest

from convbert.training.optimizer import has_weight_decay, make_optimizer, parameter_depth
from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification

TINY = {"vocab_size": 20, "max_position_embeddings": 16}
TINY |= {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
SIZES = {
    "12 layers, no projection": ConvBertConfig(embedding_size=8, num_hidden_layers=12, **TINY),
    "2 layers, projection, groups": ConvBertConfig(
        embedding_size=4, num_hidden_layers=2, num_groups=2, **TINY
    ),
}


@pytest.fixture(params=SIZES, name="config")
def _config(request):
    return SIZES[request.param]


def expected_depth(name, layers):
    """The rule of ELECTRA, written apart from the code under test."""
    parts = name.split(".")
    if parts[0] == "classifier":
        return layers + 2
    if parts[1] == "encoder":
        return int(parts[3]) + 1
    assert parts[1] in ("embeddings", "embeddings_project")
    return 0


def test_a_new_head_learns_at_the_highest_rate():
    assert parameter_depth("scorer.weight", 12) == 14


def step_sizes(config, gradient, **settings):
    """Do one step with the same gradient everywhere; return {name: (before, after)}."""
    model = ConvBertForSequenceClassification(config)
    before = {name: p.numpy() for name, p in model.named_parameters()}
    schedule = paddle.optimizer.lr.LambdaDecay(0.01, lambda step: 1.0)
    optimizer = make_optimizer(model, schedule, config.num_hidden_layers, **settings)
    sum((p * gradient).sum() for p in model.parameters()).backward()
    optimizer.step()
    return {name: (before[name], p.numpy()) for name, p in model.named_parameters()}


def test_a_step_is_scaled_by_the_depth(config):
    sizes = step_sizes(config, gradient=1.0, layer_lr_decay=0.5, weight_decay=0.0)
    top = config.num_hidden_layers + 2
    for name, (before, after) in sizes.items():
        # the first step of Adam is the learning rate times the sign of the gradient
        expected = 0.01 * 0.5 ** (top - expected_depth(name, config.num_hidden_layers))
        np.testing.assert_allclose(before - after, expected, rtol=2e-2, atol=1e-7, err_msg=name)


def test_the_usual_epsilon_is_that_of_electra():
    config = SIZES["2 layers, projection, groups"]
    sizes = step_sizes(config, gradient=1e-6, layer_lr_decay=1.0, weight_decay=0.0)
    for name, (before, after) in sizes.items():
        # the first step of Adam: gradient / (gradient + epsilon), here 1e-6 / (1e-6 + 1e-6)
        np.testing.assert_allclose(before - after, 0.01 / 2, rtol=1e-3, atol=1e-7, err_msg=name)


def test_weight_decay_spares_biases_and_norms(config):
    sizes = step_sizes(config, gradient=0.0, layer_lr_decay=1.0, weight_decay=0.5)
    spared = {name for name, (before, after) in sizes.items() if np.array_equal(before, after)}
    vectors = {n for n, (before, _) in sizes.items() if before.ndim == 1}
    assert spared == vectors == {name for name in sizes if not has_weight_decay(name)}
    for name in sizes.keys() - spared:
        before, after = sizes[name]
        np.testing.assert_allclose(after, before * (1 - 0.01 * 0.5), rtol=1e-5, err_msg=name)
