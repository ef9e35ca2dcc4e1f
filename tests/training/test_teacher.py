"""Teacher logits as a file, and the losses that follow a teacher."""

import json

import numpy as np
import paddle
import pytest

from convbert.training.tasks import TASKS
from convbert.training.teacher import read_teacher_logits, soft_loss, write_teacher_logits
from tests.helpers.errors import raises_code

TEXTS = ["a good film", "dull", "a good film", "not good"]
TASK = TASKS["sst-2"]
LOGITS = np.array([[-1, 2], [3, -3], [9, 9], [0.5, 0.25]], np.float32)


@pytest.fixture
def logits_file(tmp_path):
    """Logits of three different texts."""
    path = tmp_path / "logits.npz"
    write_teacher_logits(path, TEXTS, LOGITS, {"accuracy": 0.75})
    return path


def test_rows_are_found_by_text(logits_file):
    found = read_teacher_logits(logits_file, ["not good", " a good film ", "dull", "dull"], TASK)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, LOGITS[[3, 0, 1, 1]])


def test_the_manifest_says_what_the_file_is(logits_file):
    manifest = json.loads(logits_file.with_name("logits.npz.json").read_text())
    assert (manifest["texts"], manifest["classes"], manifest["accuracy"]) == (3, 2, 0.75)


def test_a_text_without_logits_is_named(logits_file):
    with raises_code("data-set", "row 2", "'new'"):
        read_teacher_logits(logits_file, ["dull", "new"], TASK)


@pytest.mark.parametrize("damage", ["weights", "manifest", "both"])
def test_damaged_files_are_refused(logits_file, damage):
    if damage in ("weights", "both"):
        logits_file.write_bytes(logits_file.read_bytes()[:-7])
    if damage in ("manifest", "both"):
        manifest = logits_file.with_name("logits.npz.json")
        manifest.write_text(json.dumps({"sha256": "0"}), encoding="utf-8")
    with raises_code("file-damaged", logits_file):
        read_teacher_logits(logits_file, TEXTS, TASK)


def test_a_missing_file_is_one_line(tmp_path):
    with raises_code("file-missing", "absent.npz"):
        read_teacher_logits(tmp_path / "absent.npz", TEXTS, TASK)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_loss_is_the_scaled_divergence(temperature):
    random = np.random.default_rng(1)
    given, wanted = random.normal(size=[2, 6, 3])

    def probabilities(logits):
        powers = np.exp(logits / temperature)
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = probabilities(wanted), probabilities(given)
    expected = temperature**2 * np.mean((p * np.log(p / q)).sum(axis=1))
    loss = soft_loss(paddle.to_tensor(given), paddle.to_tensor(wanted), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_soft_loss_can_be_computed_for_certain_teachers():
    certain = paddle.to_tensor([[80.0, -80.0]])
    loss = soft_loss(paddle.to_tensor([[0.0, 0.0]]), certain, 1.0)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-5)
