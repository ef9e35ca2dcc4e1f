"""The GLUE tasks as one table: what fine-tuning must know about each. Imports no Paddle.

Files, columns and labels of a task are rows of ``paddlenlp.datasets.GLUE_TASKS``; here stands what
is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Tuple


@dataclass(frozen=True)
class Task:
    """One GLUE task.

    Attributes:
        fields: keys of an example that hold its text: one sentence or two.
        metric: class name in ``paddlenlp.metrics``.
        selection: the result of that metric by which the best checkpoint is chosen, the one the
            ELECTRA and ConvBERT papers report (arXiv 2003.10555, section 3.1).
        dev_splits: evaluated in this order; the first one chooses the checkpoint.
        regression: the label is a float and the model has one output.
        defaults: values of `TrainConfig` that suit this task better than the general ones.
    """

    fields: Tuple[str, ...]
    metric: str = "AccuracyAndF1"
    selection: str = "acc"
    dev_splits: Tuple[str, ...] = ("dev",)
    regression: bool = False
    defaults: Dict[str, Any] = field(default_factory=dict)

    def text(self, example: Dict[str, Any]):
        """Return the text of an example: a string, or a pair of strings."""
        parts = tuple(example[name] for name in self.fields)
        return parts if len(parts) == 2 else parts[0]


ONE = ("sentence",)
TWO = ("sentence1", "sentence2")
# ELECTRA's setting for these two (arXiv 2003.10555, appendix B): 10 epochs instead of 3.
LONGER = {"num_train_epochs": 10}

TASKS: Dict[str, Task] = {
    "cola": Task(ONE, "Mcc", "mcc"),
    "sst-2": Task(ONE, "Accuracy"),
    "mrpc": Task(TWO),
    "sts-b": Task(TWO, "PearsonAndSpearman", "spearman", regression=True, defaults=LONGER),
    "qqp": Task(TWO),
    "mnli": Task(TWO, "Accuracy", dev_splits=("dev_matched", "dev_mismatched")),
    "qnli": Task(TWO, "Accuracy"),
    "rte": Task(TWO, "Accuracy", defaults=LONGER),
    "wnli": Task(TWO, "Accuracy"),
}
