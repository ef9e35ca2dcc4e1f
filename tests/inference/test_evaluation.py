"""Numbers about a classifier on labelled texts, against values computed by hand."""

import numpy as np
import pytest

from convbert.inference import evaluation
from convbert.inference.evaluation import Answers
from convbert.text.reading import Row
from paddlenlp.utils.logits import softmax

NAMES = ["bad", "good"]


def answers_of(*rows: tuple[str, int, float]) -> Answers:
    """Texts, true labels, and the probability of class 1."""
    logits = [[0.0, np.log(prob / (1 - prob))] for _, _, prob in rows]
    texts = [
        Row(text, where=f"line {i}", label_id=label) for i, (text, label, _) in enumerate(rows)
    ]
    return Answers(texts, np.array(logits))


def test_groups():
    answers = answers_of(
        ("I DON'T like it", 0, 0.9),
        ("nothing new", 0, 0.1),
        ("a notable nobleman", 1, 0.8),
        ("word " * 10, 1, 0.7),
        ("word " * 30, 1, 0.2),
    )
    lengths = evaluation.by_length(answers)
    assert [row["texts"] for row in lengths.values()] == [3, 1, 0, 1]
    assert [row["accuracy"] for row in lengths.values()] == [pytest.approx(2 / 3), 1, None, 0]
    negation = evaluation.by_negation(answers)
    assert negation["with a negation"] == {"texts": 2, "right": 1, "accuracy": 0.5}
    assert negation["without"]["texts"] == 3


def test_calibration_error_by_hand():
    # Interval 0.9 to 1: confidence 0.95, accuracy 0.5. Interval 0.6 to 0.7: 0.65, accuracy 1.
    confidence = np.array([0.94, 0.96, 0.65, 1.0])
    right = np.array([True, False, True, True])
    rows = evaluation.reliability(confidence, right)
    assert [row["texts"] for row in rows] == [1, 3]
    wanted = (1 * (1 - 0.65) + 3 * abs((0.94 + 0.96 + 1.0) / 3 - 2 / 3)) / 4
    assert evaluation.expected_calibration_error(confidence, right) == pytest.approx(wanted)


def test_temperature_undoes_a_scaling():
    random = np.random.default_rng(1)
    logits = random.normal(size=(4000, 3)) * 2
    labels = np.array([random.choice(3, p=row) for row in softmax(logits)])
    assert evaluation.fit_temperature(logits, labels) == pytest.approx(1, rel=0.1)
    assert evaluation.fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)
    rows = [Row("x", label_id=int(label)) for label in labels]
    numbers = evaluation.calibration(Answers(rows, logits * 3))
    assert numbers["expected_calibration_error"] > 0.1
    assert numbers["error_after_temperature"] < 0.04


def test_mistakes_and_agreement():
    answers = answers_of(("a", 1, 0.4), ("b", 0, 0.99), ("c", 1, 0.9), ("d", 1, 0.2))
    worst = evaluation.worst_mistakes(answers, NAMES, most=2)
    assert [row["text"] for row in worst] == ["b", "d"]
    assert worst[0] == {**worst[0], "label": "bad", "answer": "good", "where": "line 1"}
    assert worst[0]["prob"] == pytest.approx(0.99)
    other = answers_of(("a", 1, 0.6), ("b", 0, 0.99), ("c", 1, 0.9), ("d", 1, 0.2))
    numbers = evaluation.agreement(answers, other)
    assert numbers["same_label"] == 0.75
    assert numbers["accuracy"] == 0.5
    assert numbers["largest_change_of_a_probability"] == pytest.approx(0.2)


def test_one_text_is_enough():
    numbers = evaluation.measure(answers_of(("a", 1, 0.6)), NAMES, 10)
    assert numbers["accuracy"] == 1
    assert numbers["mistakes"] == []
