"""Quality of a classifier on labelled texts: accuracy, calibration, mistakes, agreement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from convbert.text.processing import TextProcessor, length_sorted_batches
from convbert.text.reading import Row
from paddlenlp.utils.logits import predicted_classes, softmax

CONFIDENCE_BINS = 10
# Groups of texts by number of words: the lower bounds. The last group has no upper bound.
LENGTH_GROUPS = (1, 10, 20, 30)
# English negations; "n't" also inside a word, as in "don't".
NEGATION = re.compile(
    r"\b(not|no|never|nothing|nobody|none|neither|nor|nowhere|cannot|without|hardly|barely)\b|n't\b",
    re.IGNORECASE,
)
# The temperatures to try; with values beyond them a model is useless or always certain.
TEMPERATURES = np.geomspace(0.05, 20, 1201)


@dataclass(frozen=True)
class Answers:
    """The logits of a classifier for labelled texts.

    Attributes:
        rows: T texts with ``label_id``.
        logits: [T, C] float.
    """

    rows: list[Row]
    logits: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The true class ids, [T] int64."""
        return np.array([row.label_id for row in self.rows], np.int64)

    @property
    def classes(self) -> np.ndarray:
        """The predicted class ids, [T] int64."""
        return predicted_classes(self.logits)

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, [T] bool."""
        return self.classes == self.labels

    @property
    def confidence(self) -> np.ndarray:
        """The probability of each answer, [T] float64."""
        return softmax(self.logits).max(axis=1)

    @property
    def words(self) -> np.ndarray:
        """Number of words (separated by spaces) of each text or pair, [T] int64."""
        return np.array([len(one_text(row).split()) for row in self.rows], np.int64)


def answer(
    rows: Sequence[Row],
    processor: TextProcessor,
    run: Callable[[np.ndarray, np.ndarray], np.ndarray],
    batch_size: int = 32,
) -> Answers:
    """Run a classifier over labelled texts.

    Args:
        rows: the texts, with ``label_id``.
        processor: encodes texts.
        run: maps two [B, L] int64 arrays to logits [B, C].
        batch_size: largest number of texts in one run.
    """
    rows = list(rows)
    features = processor.encode([row.text for row in rows], places=[row.where for row in rows])
    logits: list = [None] * len(rows)
    lengths = [len(feature.input_ids) for feature in features]
    for batch in length_sorted_batches(lengths, batch_size):
        outputs = run(*processor.collate([features[index] for index in batch]))
        for index, output in zip(batch, outputs):
            logits[index] = output
    return Answers(rows, np.stack(logits).astype(np.float64))


def one_text(row: Row) -> str:
    """The text of a row; the parts of a pair are joined with a bar."""
    return row.text if isinstance(row.text, str) else " | ".join(row.text)


def accuracy_of(right: np.ndarray) -> dict:
    """``{"texts": T, "right": R, "accuracy": R / T}``; the accuracy is None if T is 0."""
    total, good = len(right), int(right.sum())
    return {"texts": total, "right": good, "accuracy": good / total if total else None}


def by_length(answers: Answers) -> dict[str, dict]:
    """The accuracy in each group of `LENGTH_GROUPS`."""
    groups, words = {}, answers.words
    for low, high in zip(LENGTH_GROUPS, (*LENGTH_GROUPS[1:], None)):
        chosen = (words >= low) & (words < (high or np.inf))
        name = f"{low} to {high - 1} words" if high else f"{low} words or more"
        groups[name] = accuracy_of(answers.right[chosen])
    return groups


def by_negation(answers: Answers) -> dict[str, dict]:
    """The accuracy on texts with and without a word of `NEGATION`."""
    negated = np.array([bool(NEGATION.search(one_text(row))) for row in answers.rows], bool)
    return {
        "with a negation": accuracy_of(answers.right[negated]),
        "without": accuracy_of(answers.right[~negated]),
    }


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict]:
    """Confidence and accuracy of the answers in each of `CONFIDENCE_BINS` equal intervals.

    Args:
        confidence: [T] probabilities of the answers.
        right: [T] bool.
    """
    places = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    rows = []
    for number in range(CONFIDENCE_BINS):
        chosen = places == number
        if chosen.any():
            rows.append(
                {
                    "from": number / CONFIDENCE_BINS,
                    "to": (number + 1) / CONFIDENCE_BINS,
                    "texts": int(chosen.sum()),
                    "confidence": float(confidence[chosen].mean()),
                    "accuracy": float(right[chosen].mean()),
                }
            )
    return rows


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance between confidence and accuracy (Guo et al., arXiv 1706.04599)."""
    rows = reliability(confidence, right)
    total = sum(row["texts"] for row in rows)
    return sum(row["texts"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / total


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels [T] most likely; it divides the logits [T, C]."""
    losses = [negative_log_likelihood(logits / value, labels) for value in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels [T] under logits [T, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -float(log_probs[np.arange(len(labels)), labels].mean())


def calibration(answers: Answers) -> dict:
    """Reliability and calibration error, before and after temperature scaling.

    Each half of the texts is scaled with the temperature fitted on the other half, so that the
    error is not measured on the same texts.
    """
    logits, labels, right = answers.logits, answers.labels, answers.right
    scaled = np.array(logits)
    for half in (0, 1) if len(labels) > 1 else ():
        other = np.arange(1 - half, len(labels), 2)
        scaled[half::2] /= fit_temperature(logits[other], labels[other])
    confidence = softmax(scaled).max(axis=1)
    return {
        "expected_calibration_error": expected_calibration_error(answers.confidence, right),
        "mean_confidence": float(answers.confidence.mean()),
        "temperature": fit_temperature(logits, labels),
        "error_after_temperature": expected_calibration_error(confidence, right),
        "reliability": reliability(answers.confidence, right),
        "reliability_after_temperature": reliability(confidence, right),
    }


def worst_mistakes(answers: Answers, names: Sequence[str], most: int) -> list[dict]:
    """The wrong answers with the highest probability, the worst first."""
    confidence, classes = answers.confidence, answers.classes
    wrong = np.flatnonzero(~answers.right)
    return [
        {
            "text": one_text(answers.rows[index]),
            "where": answers.rows[index].where,
            "label": names[answers.labels[index]],
            "answer": names[classes[index]],
            "prob": float(confidence[index]),
        }
        for index in wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    ]


def agreement(answers: Answers, other: Answers) -> dict:
    """How often another form of the model, such as int8, gives the same answers."""
    change = np.abs(softmax(answers.logits) - softmax(other.logits)).max()
    return {
        **accuracy_of(other.right),
        "same_label": float((answers.classes == other.classes).mean()),
        "largest_change_of_a_probability": float(change),
    }


def measure(answers: Answers, names: Sequence[str], mistakes: int) -> dict:
    """All numbers of a report.

    Args:
        answers: of the model.
        names: label names by class id.
        mistakes: how many of the worst mistakes to list.
    """
    return {
        **accuracy_of(answers.right),
        "by_length": by_length(answers),
        "by_negation": by_negation(answers),
        "calibration": calibration(answers),
        "mistakes": worst_mistakes(answers, names, mistakes),
    }
