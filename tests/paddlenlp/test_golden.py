"""The model equals transformers' ConvBERT: recorded numbers, so no torch is needed here.

The file is written by tests/reference/model_golden.py; the live comparison is alignment/run.py.
"""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from alignment import cases, ours
from alignment.run import gradient_scales
from paddlenlp.transformers import ConvBertConfig
from tests.helpers.golden import GRADIENT_CASE, TINY_CASES, TINY_SIZES

CLASSIFIER = "ConvBertForSequenceClassification"


@pytest.fixture(scope="session")
def golden(repo_root):
    """The recorded arrays by ``size/case/quantity``."""
    with np.load(repo_root / "tests" / "fixtures" / "model_golden.npz") as file:
        return dict(file)


def reference_model(size, architecture, classes=cases.CLASSES, **fields):
    """Our model with the weights that the reference had."""
    fields = {"mask_padding_in_conv": False, "num_classes": classes, **fields}
    return ours.random_model(ConvBertConfig(**TINY_SIZES[size], **fields), architecture)


@pytest.mark.parametrize("case", TINY_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", TINY_SIZES)
def test_hidden_states_logits_and_loss(golden, size, case):
    model = reference_model(size, CLASSIFIER)
    inputs = ours.tensors(case.inputs(model.config.vocab_size))
    _, states = model.convbert(**inputs, output_hidden_states=True)
    logits = model(**inputs)  # not from the last state: the whole model as users call it
    loss = F.cross_entropy(logits, paddle.to_tensor(case.labels(cases.CLASSES)))
    found = {f"state_{number}": state for number, state in enumerate(states)}
    for name, value in {**found, "logits": logits, "loss": loss}.items():
        expected = golden[f"{size}/{case.name}/{name}"]
        np.testing.assert_allclose(value.numpy(), expected, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("size", TINY_SIZES)
def test_gradient_of_every_parameter(golden, size):
    case = GRADIENT_CASE
    start = f"{size}/{case.name}/grad/"
    expected = {k[len(start) :]: v for k, v in golden.items() if k.startswith(start)}
    model = reference_model(size, CLASSIFIER)
    logits = model(**ours.tensors(case.inputs(model.config.vocab_size)))
    F.cross_entropy(logits, paddle.to_tensor(case.labels(cases.CLASSES))).backward()
    found = ours.gradients(model)
    assert set(found) == set(expected)
    for name, scale in gradient_scales(expected).items():
        difference = np.abs(found[name] - expected[name]).max() / scale
        assert difference < 1e-5, name


@pytest.mark.parametrize("head", cases.HEAD_CASES, ids=lambda head: head.name)
@pytest.mark.parametrize("size", TINY_SIZES)
def test_every_head(golden, size, head):
    model = reference_model(size, head.architecture, head.classes)
    inputs = head.inputs(model.config.vocab_size)
    outputs = model(**ours.tensors(inputs))
    labels = ours.tensors(head.labels(model.config.vocab_size))
    loss = ours.head_loss(head, outputs, labels, paddle.to_tensor(inputs["attention_mask"]))
    for name, value in {**ours.named_logits(outputs), "loss": loss.numpy()}.items():
        expected = golden[f"{size}/{head.name}/{name}"]
        np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=name)
