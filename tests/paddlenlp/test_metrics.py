"""The GLUE metrics against worked values, and their corner cases."""

import numpy as np
import pytest

from paddlenlp.metrics import Accuracy, AccuracyAndF1, Mcc, PearsonAndSpearman

CLASSIFICATION = [Accuracy, AccuracyAndF1, Mcc]


def logits_of(classes, count=2):
    return np.eye(count, dtype="float32")[list(classes)]


def feed(metric, predictions, labels):
    metric.update(np.asarray(predictions), np.asarray(labels))
    return metric


def test_worked_confusion_matrix():
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives
    predictions = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    labels = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    found = feed(AccuracyAndF1(), predictions, labels).results()
    assert found == pytest.approx(
        {
            "acc": 0.7,
            "precision": 3 / 4,
            "recall": 3 / 5,
            "f1": 2 / 3,
            "acc_and_f1": (0.7 + 2 / 3) / 2,
        }
    )
    mcc = (3 * 4 - 1 * 2) / np.sqrt(4 * 5 * 5 * 6)
    assert feed(Mcc(), predictions, labels).accumulate() == pytest.approx((mcc,))
    assert feed(Accuracy(), predictions, labels).accumulate() == pytest.approx(0.7)


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_a_perfect_classifier_scores_one(metric):
    metric = metric()
    labels = [0, 1, 1, 0]
    metric.update(metric.compute(logits_of(labels), labels))
    assert set(metric.results().values()) == {1.0}


@pytest.mark.parametrize(
    ("predictions", "labels"), [([0, 0], [0, 1]), ([1, 1], [1, 1]), ([0], [0])]
)
def test_constant_predictions_have_no_correlation(predictions, labels):
    assert feed(Mcc(), predictions, labels).results() == {"mcc": 0.0}


def test_nothing_predicted_positive():
    found = feed(AccuracyAndF1(), [0, 0], [0, 1]).results()
    assert (found["acc"], found["precision"], found["recall"], found["f1"]) == (0.5, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("metric", [*CLASSIFICATION, PearsonAndSpearman])
def test_batches_ranks_and_a_last_batch_of_one_change_nothing(metric):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 33)
    columns = 1 if metric is PearsonAndSpearman else 2
    logits = generator.normal(size=(33, columns)).astype("float32")
    whole, parts, gathered = metric(), metric(), metric()
    whole.update(whole.compute(logits, labels))
    for start in range(0, 33, 16):  # 16, 16, 1
        stop = start + 16
        parts.update(parts.compute(logits[start:stop], labels[start:stop].reshape(-1, 1)))
    pieces = [gathered.compute(logits[rank::2], labels[rank::2]) for rank in range(2)]
    gathered.update(*(np.concatenate(arrays) for arrays in zip(*pieces)))
    assert parts.results() == whole.results()
    assert gathered.results() == pytest.approx(whole.results())


def test_correlations_with_ties():
    predictions, labels = [1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0]
    found = feed(PearsonAndSpearman(), predictions, labels).results()
    # Spearman is Pearson over mean ranks: (1.5, 1.5, 3, 4) and (1, 2, 3.5, 3.5).
    spearman = np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3.5, 3.5])[0, 1]
    pearson = np.corrcoef(predictions, labels)[0, 1]
    assert found == pytest.approx(
        {"pearson": pearson, "spearman": spearman, "corr": (pearson + spearman) / 2}
    )


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [([2.0, 2.0], [1.0, 5.0]), ([1.0], [1.0]), ([np.nan, 1.0, 2.0], [1.0, 2.0, 3.0])],
)
def test_undefined_correlations_are_zero(predictions, labels, recwarn):
    found = feed(PearsonAndSpearman(), predictions, labels).results()
    assert found == {"pearson": 0.0, "spearman": 0.0, "corr": 0.0}
    assert not recwarn.list


def test_regression_logits_in_both_shapes():
    metric = PearsonAndSpearman()
    metric.update(metric.compute(np.array([[1.0], [2.0]]), [[1.0], [2.0]]))
    metric.update(metric.compute(np.array([3.0]), [3.0]))
    assert metric.results()["corr"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"\[B, 1\]"):
        metric.compute(np.zeros((2, 2)), [0, 1])


def test_reset_and_empty():
    metric = feed(Accuracy(), [1], [1])
    metric.reset()
    with pytest.raises(ValueError, match=metric.NAME):
        metric.results()


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"\b2\b.*\b3\b"):
        Accuracy().update([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match=r"\[B, C\]"):
        Accuracy().compute(np.zeros(3), [0, 0, 0])


def test_paddle_tensors_bfloat16_included():
    import paddle

    metric = Accuracy()
    logits = paddle.to_tensor([[-2.0, -1.0], [0.5, -0.5]])
    labels = paddle.to_tensor([[1], [0]])
    metric.update(metric.compute(logits, labels))
    # As raw bits negative bfloat16 numbers are the larger ones.
    metric.update(metric.compute(logits.astype("bfloat16"), labels))
    assert metric.accumulate() == 1.0


def test_upstream_names_and_orders():
    names = [metric().name() for metric in (*CLASSIFICATION, PearsonAndSpearman)]
    assert names == ["acc", "acc_and_f1", "mcc", "pearson_and_spearman"]
    in_order = feed(AccuracyAndF1(), [1, 0], [1, 1]).accumulate()
    assert in_order == pytest.approx((0.5, 1.0, 0.5, 2 / 3, 7 / 12))
