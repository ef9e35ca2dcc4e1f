"""The GLUE tasks as one table, with what fine-tuning needs to know about each.

Files, columns and labels of a task are rows of ``paddlenlp.datasets.GLUE_TASKS``; this table adds
the metrics and settings.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from paddlenlp.datasets import GLUE_TASKS, load_dataset
from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.log import get_logger


class Examples(NamedTuple):
    """The texts of a split, strings or pairs of strings, and their class ids or scores."""

    texts: list[Text]
    labels: list


@dataclass(frozen=True)
class Task:
    """A task: the outputs of the model and how they are evaluated.

    Attributes:
        name: the name in the records; for GLUE the key in ``GLUE_TASKS``.
        label_names: by class id; None for regression, which has one output.
        metric: class name in ``paddlenlp.metrics``.
        selection: the result of that metric by which the best checkpoint is chosen; for GLUE the
            one that the ELECTRA and ConvBERT papers report (arXiv 2003.10555, section 3.1).
        dev_splits: the splits to evaluate; the first one chooses the checkpoint.
        defaults: values of `TrainConfig` that suit this task better than the general ones.
    """

    name: str
    label_names: tuple[str, ...] | None
    metric: str = "Accuracy"
    selection: str = "acc"
    dev_splits: tuple[str, ...] = ("dev",)
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def regression(self) -> bool:
        """Whether the label is a score and the model has one output."""
        return self.label_names is None

    @property
    def num_classes(self) -> int:
        """C: outputs of the model."""
        return 1 if self.regression else len(self.label_names)

    def loss(self, logits, labels):
        """Mean cross entropy of logits [B, C], or mean squared error of scores [B, 1]; a scalar."""
        import paddle.nn.functional as F

        logits = logits.astype("float32")
        if self.regression:
            return F.mse_loss(logits.squeeze(-1), labels)
        return F.cross_entropy(logits, labels)


def _glue(name: str, metric: str = "Accuracy", selection: str = "acc", **defaults: Any) -> Task:
    facts = GLUE_TASKS[name]
    labels = facts.label_names or facts.labels
    dev_splits = tuple(split for split in facts.splits if split.startswith("dev"))
    return Task(name, labels, metric, selection, dev_splits, defaults)


# Ten epochs instead of three for the two small tasks, as ELECTRA (arXiv 2003.10555, appendix B).
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _glue("cola", "Mcc", "mcc"),
        _glue("sst-2"),
        _glue("mrpc", "AccuracyAndF1"),
        _glue("sts-b", "PearsonAndSpearman", "spearman", num_train_epochs=10),
        _glue("qqp", "AccuracyAndF1"),
        _glue("mnli"),
        _glue("qnli"),
        _glue("rte", num_train_epochs=10),
        _glue("wnli"),
    )
}


def glue_examples(name: str, split: str, data_dir: str | None = None) -> Examples:
    """Read one split of a GLUE task.

    Raises:
        UserError: the files are missing, damaged, or contain no examples.
    """
    keys = ("sentence1", "sentence2") if GLUE_TASKS[name].pair else ("sentence",)
    examples = load_dataset("glue", name, splits=split, data_dir=data_dir)
    rows = [tuple(example[key] for key in keys) for example in examples]
    texts = [row if len(row) == 2 else row[0] for row in rows]
    return Examples(texts, [example["labels"] for example in examples])


def report_data(task: Task, splits: dict[str, Examples]) -> None:
    """Log class balance, duplicates and overlap, which often explain a surprising result.

    Args:
        task: what the labels mean.
        splits: the examples by split, "train" first.
    """
    log, (train, *_) = get_logger(), splits.values()
    for name, (texts, labels) in splits.items():
        if task.regression:
            shown = f"scores from {min(labels):g} to {max(labels):g}"
        else:
            counts = Counter(labels)
            shown = ", ".join(
                f"'{label}' {counts[number]}" for number, label in enumerate(task.label_names)
            )
        log.info("%s: %d rows; %s", name, len(texts), shown)
    known = set(train.texts)
    if len(known) < len(train.texts):
        repeated = len(train.texts) - len(known)
        log.warning("train: %d rows repeat the text of an earlier row", repeated)
    for name, examples in list(splits.items())[1:]:
        shared = len(known & set(examples.texts))
        if shared:
            log.warning(
                "%d texts of %s are also in train: its result is too optimistic", shared, name
            )
