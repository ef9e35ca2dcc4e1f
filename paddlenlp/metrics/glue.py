"""Metrics of the GLUE tasks, from scikit-learn and SciPy, in the form of paddle.metric.Metric.

Every metric keeps all predictions and computes its result at the end, because F1 and correlations
are not means over batches. Predictions of several ranks can be gathered for one ``update``.
"""

import math
import warnings
from typing import Any

import numpy as np

from paddlenlp.utils.logits import predicted_classes


class GlueMetric:
    """Collects predictions and labels; a subclass computes the result.

    Use: ``update(compute(logits, labels))`` per batch, then ``results()`` or ``accumulate()``.
    """

    NAME = ""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Remove all predictions and labels."""
        self._batches: list[tuple[np.ndarray, np.ndarray]] = []

    def name(self) -> str:
        """Upstream's name of the metric."""
        return self.NAME

    def compute(self, logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Reduce a batch to (predicted class [B] int64, label [B]).

        Args:
            logits: [B, C] float, Paddle tensor or array.
            labels: [B] or [B, 1] int.
        """
        return predicted_classes(_to_numpy(logits)), _to_numpy(labels).reshape(-1)

    def update(self, preds: Any, labels: Any | None = None) -> None:
        """Add predictions and labels, each [n]; or only the pair that `compute` returned."""
        if labels is None:
            preds, labels = preds
        preds, labels = _to_numpy(preds).reshape(-1), _to_numpy(labels).reshape(-1)
        if preds.shape != labels.shape:
            raise ValueError(f"{preds.size} predictions for {labels.size} labels")
        self._batches.append((preds, labels))

    def results(self) -> dict[str, float]:
        """Return every number by its name.

        Raises:
            ValueError: there are no predictions yet.
        """
        if not any(preds.size for preds, _ in self._batches):
            raise ValueError(f"metric {self.NAME} has no predictions yet: call update first")
        preds, labels = map(np.concatenate, zip(*self._batches))
        return self._results(preds, labels)

    def accumulate(self) -> float | tuple[float, ...]:
        """Return the numbers of `results` in order, as upstream's metric of that name does."""
        return tuple(self.results().values())

    def _results(self, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        raise NotImplementedError


class Accuracy(GlueMetric):
    """Share of right answers: {"acc"}. ``accumulate()`` is a plain float, as in paddle.metric."""

    NAME = "acc"

    def accumulate(self) -> float:
        return self.results()["acc"]

    def _results(self, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return {"acc": float(np.mean(preds == labels))}


class AccuracyAndF1(GlueMetric):
    """{"acc", "precision", "recall", "f1", "acc_and_f1"}; class 1 is the positive one.

    If nothing is predicted positive, precision and F1 are 0.0; if nothing is positive, recall and
    F1.
    """

    NAME = "acc_and_f1"

    def _results(self, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        from sklearn.metrics import precision_recall_fscore_support

        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, preds, average="binary", pos_label=1, zero_division=0
        )
        acc = np.mean(preds == labels)
        numbers = (acc, precision, recall, f1, (acc + f1) / 2)
        names = ("acc", "precision", "recall", "f1", "acc_and_f1")
        return dict(zip(names, map(float, numbers)))


class Mcc(GlueMetric):
    """Matthews correlation coefficient: {"mcc"}; 0.0 if predictions or labels are constant."""

    NAME = "mcc"

    def _results(self, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        from sklearn.metrics import matthews_corrcoef

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a single class gives 0.0, as documented
            return {"mcc": float(matthews_corrcoef(labels, preds))}


class PearsonAndSpearman(GlueMetric):
    """Correlations of scores: {"pearson", "spearman", "corr"}; "corr" is the mean of the two.

    Ties get their mean rank. A correlation is undefined for fewer than two examples, constant
    predictions or nan. The result is then 0.0, because no later result would compare as better than
    nan when the best checkpoint is chosen.
    """

    NAME = "pearson_and_spearman"

    def compute(self, logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return (scores [B], labels [B]) from logits [B, 1] or [B], and labels [B] or [B, 1]."""
        scores = _to_numpy(logits)
        if scores.ndim == 2 and scores.shape[1] != 1:
            raise ValueError(f"a regression model gives [B, 1], got shape {scores.shape}")
        return scores.reshape(-1), _to_numpy(labels).reshape(-1)

    def _results(self, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        from scipy import stats

        preds, labels = preds.astype(np.float64), labels.astype(np.float64)
        pearson = _defined(stats.pearsonr, preds, labels)
        spearman = _defined(stats.spearmanr, preds, labels)
        return {"pearson": pearson, "spearman": spearman, "corr": (pearson + spearman) / 2}


def _defined(correlation, preds: np.ndarray, labels: np.ndarray) -> float:
    if preds.size < 2 or not np.isfinite(preds).all():  # some versions of SciPy raise an error
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant input: handled below
        value = float(correlation(preds, labels)[0])
    return value if math.isfinite(value) else 0.0


def _to_numpy(values: Any) -> np.ndarray:
    """Turn a Paddle tensor, array or list into an array, without importing Paddle."""
    if "bfloat16" in str(getattr(values, "dtype", "")):
        values = values.astype("float32")  # Paddle returns bfloat16 as raw 16-bit integers
    return np.asarray(values)
