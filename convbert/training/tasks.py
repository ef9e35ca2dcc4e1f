"""The GLUE tasks as one table: what fine-tuning must know about each.

Files, columns and labels of a task are rows of ``paddlenlp.datasets.GLUE_TASKS``; this table adds
the metrics and settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paddlenlp.datasets import GLUE_TASKS


@dataclass(frozen=True)
class Task:
    """One GLUE task.

    Attributes:
        name: key of `TASKS` and of ``GLUE_TASKS``.
        metric: class name in ``paddlenlp.metrics``.
        selection: the result of that metric by which the best checkpoint is chosen, the one the
            ELECTRA and ConvBERT papers report (arXiv 2003.10555, section 3.1).
        defaults: values of `TrainConfig` that suit this task better than the general ones.
    """

    name: str
    metric: str = "Accuracy"
    selection: str = "acc"
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str] | None:
        """Label texts by id; None for regression."""
        labels = GLUE_TASKS[self.name].labels
        return list(labels) if labels else None

    @property
    def regression(self) -> bool:
        """Whether the label is a score and the model has one output."""
        return self.labels is None

    @property
    def num_classes(self) -> int:
        """C: outputs of the model."""
        return len(self.labels or [None])

    @property
    def dev_splits(self) -> tuple[str, ...]:
        """The splits to evaluate; the first one chooses the checkpoint."""
        return tuple(name for name in GLUE_TASKS[self.name].splits if name.startswith("dev"))

    def loss(self, logits, labels):
        """Mean cross entropy of logits [B, C], or mean squared error of scores [B, 1]; a scalar."""
        import paddle.nn.functional as F

        logits = logits.astype("float32")
        if self.regression:
            return F.mse_loss(logits.squeeze(-1), labels)
        return F.cross_entropy(logits, labels)

    def text(self, example: dict[str, Any]):
        """Return the text of an example: a string, or a pair of strings."""
        if GLUE_TASKS[self.name].pair:
            return example["sentence1"], example["sentence2"]
        return example["sentence"]


# ELECTRA's setting for the two small tasks (arXiv 2003.10555, appendix B): 10 epochs, not 3.
LONGER = {"num_train_epochs": 10}

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("cola", "Mcc", "mcc"),
        Task("sst-2"),
        Task("mrpc", "AccuracyAndF1"),
        Task("sts-b", "PearsonAndSpearman", "spearman", LONGER),
        Task("qqp", "AccuracyAndF1"),
        Task("mnli"),
        Task("qnli"),
        Task("rte", defaults=LONGER),
        Task("wnli"),
    )
}
