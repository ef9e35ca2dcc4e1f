"""The GLUE tasks as one table, with what fine-tuning needs to know about each.

Files, columns and labels of a task are rows of ``paddlenlp.datasets.GLUE_TASKS``; this table adds
the metrics and settings.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from paddlenlp.datasets import GLUE_TASKS, load_dataset
from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.files import PathLike
from paddlenlp.utils.log import get_logger


class Examples(NamedTuple):
    """The texts of a split, strings or pairs of strings, and their class ids or scores."""

    texts: list[Text]
    labels: list


@dataclass(frozen=True)
class Task:
    """A task: the outputs of the model and how they are evaluated.

    The best checkpoint is chosen by ``selection``; for GLUE that is what the ELECTRA and ConvBERT
    papers report (arXiv 2003.10555, section 3.1).
    """

    name: str  # in the records; for GLUE the key in GLUE_TASKS
    label_names: tuple[str, ...] | None  # by class id; None for regression, which has one output
    metric: str = "Accuracy"  # class name in paddlenlp.metrics
    selection: str = "acc"  # one of the results of that metric
    dev_splits: tuple[str, ...] = ("dev",)  # the first one chooses the checkpoint
    defaults: dict[str, Any] = field(default_factory=dict)  # flags that suit this task better

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

    def score(self, results: dict[str, dict[str, float]]) -> float:
        """The number that chooses the best checkpoint, from the results by dev split."""
        return next(iter(results.values()))[self.selection]


def _glue(name: str, metric: str = "Accuracy", selection: str = "acc", **defaults: Any) -> Task:
    facts = GLUE_TASKS[name]
    dev_splits = tuple(split for split in facts.splits if split.startswith("dev"))
    return Task(name, facts.label_names or facts.labels, metric, selection, dev_splits, defaults)


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


def glue_examples(name: str, split: str, data_dir: PathLike | None = None) -> Examples:
    """Read one split of a GLUE task; a test split may have no labels.

    Raises:
        UserError: the files are missing, damaged, or contain no examples.
    """
    rows = load_dataset("glue", name, splits=split, data_dir=data_dir)
    if GLUE_TASKS[name].pair:
        texts = [(row["sentence1"], row["sentence2"]) for row in rows]
    else:
        texts = [row["sentence"] for row in rows]
    return Examples(texts, [row["labels"] for row in rows if "labels" in row])


def report_data(task: Task, splits: dict[str, Examples]) -> None:
    """Log class balance, duplicates and overlap, which often explain a surprising result.

    Args:
        task: what the labels mean.
        splits: the examples by split, "train" first.
    """
    log, known = get_logger(), set(splits["train"].texts)
    for name, (texts, labels) in splits.items():
        if task.regression:
            shown = f"scores from {min(labels):g} to {max(labels):g}"
        else:
            counts = Counter(labels)
            shown = ", ".join(f"'{n}' {counts[i]}" for i, n in enumerate(task.label_names))
        log.info("%s: %d rows; %s", name, len(texts), shown)
        if name == "train":
            repeated = len(texts) - len(known)
            if repeated:
                log.warning("train: %d rows repeat the text of an earlier row", repeated)
        elif shared := len(known & set(texts)):
            log.warning(
                "%d texts of %s are also in train: its result is too optimistic", shared, name
            )
