"""Quality of a classifier on labelled texts: accuracy, calibration, mistakes, agreement."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from convbert.inference.classify import Run, Timings, logits_of
from convbert.text.processing import TextProcessor
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


class Answers:
    """The answers of a classifier to labelled texts.

    Args:
        rows: T texts with ``label_id``.
        logits: [T, C] float.

    Attributes:
        texts: the texts; the parts of a pair are joined with a bar.
        words: number of words (separated by spaces) of each text, [T] int64.
        labels, classes: the true and the predicted class ids, [T] int64.
        right: which answers are right, [T] bool.
        confidence: the probability of each answer, [T] float64.
    """

    def __init__(self, rows: Sequence[Row], logits: np.ndarray):
        self.rows, self.logits = rows, logits
        self.texts = [r.text if isinstance(r.text, str) else " | ".join(r.text) for r in rows]
        self.words = np.array([len(text.split()) for text in self.texts], np.int64)
        self.labels = np.array([row.label_id for row in rows], np.int64)
        self.classes = predicted_classes(logits)
        self.right = self.classes == self.labels
        self.confidence = softmax(logits).max(axis=1)


def answer(
    rows: Sequence[Row], processor: TextProcessor, run: Run, batch_size: int = 32
) -> Answers:
    """Run a classifier over texts with ``label_id``; the arguments are those of `logits_of`."""
    logits = logits_of(rows, processor, run, batch_size, Timings())
    return Answers(rows, logits.astype(np.float64))


def accuracy_of(right: np.ndarray) -> dict:
    """``{"texts": T, "right": R, "accuracy": R / T}``; the accuracy is None if T is 0."""
    total, good = len(right), int(right.sum())
    return {"texts": total, "right": good, "accuracy": good / total if total else None}


def by_length(answers: Answers) -> dict[str, dict]:
    """The accuracy in each group of `LENGTH_GROUPS`."""
    groups = {}
    for low, high in zip(LENGTH_GROUPS, (*LENGTH_GROUPS[1:], None)):
        chosen = (answers.words >= low) & (answers.words < (high or np.inf))
        name = f"{low} to {high - 1} words" if high else f"{low} words or more"
        groups[name] = accuracy_of(answers.right[chosen])
    return groups


def by_negation(answers: Answers) -> dict[str, dict]:
    """The accuracy on texts with and without a word of `NEGATION`."""
    negated = np.array([bool(NEGATION.search(text)) for text in answers.texts], bool)
    return {
        "with a negation": accuracy_of(answers.right[negated]),
        "without": accuracy_of(answers.right[~negated]),
    }


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict]:
    """Confidence [T] and accuracy of the answers in each of `CONFIDENCE_BINS` equal intervals."""
    rows = []
    places = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    for number in sorted(set(places.tolist())):
        chosen = places == number
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
    distances = (row["texts"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return sum(distances) / len(right)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels [T] most likely; it divides the logits [T, C]."""
    places = np.arange(len(labels))
    scores = [log_softmax(logits / value, axis=1)[places, labels].mean() for value in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmax(scores))])


def calibration(answers: Answers) -> dict:
    """Reliability and calibration error, before and after temperature scaling.

    Each half of the texts is scaled with the temperature fitted on the other half, so that the
    error is not measured on the same texts.
    """
    logits, labels, right = answers.logits, answers.labels, answers.right
    scaled = np.array(logits)
    if len(labels) > 1:
        for half in (0, 1):
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
    wrong = np.flatnonzero(~answers.right)
    return [
        {
            "text": answers.texts[index],
            "where": answers.rows[index].where,
            "label": names[answers.labels[index]],
            "answer": names[answers.classes[index]],
            "prob": float(answers.confidence[index]),
        }
        for index in wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:most]
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
    """All numbers of a report; ``mistakes`` is how many of the worst mistakes to list."""
    return {
        **accuracy_of(answers.right),
        "by_length": by_length(answers),
        "by_negation": by_negation(answers),
        "calibration": calibration(answers),
        "mistakes": worst_mistakes(answers, names, mistakes),
    }
