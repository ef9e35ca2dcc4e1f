"""A task made from the user's own files: texts and labels in columns of a table."""

import math
from argparse import Namespace
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from convbert.text.reading import Row, read_table
from convbert.training.tasks import Examples, Task
from paddlenlp.utils.errors import UserError

OWN_DATA = "own data"  # name of the task in the records


def open_own_data(config: Namespace) -> tuple[Task, dict[str, Examples]]:
    """Read ``--train_file`` and ``--dev_file``, or hold out a part of the training file.

    Returns:
        The task, whose labels are those of the training file in sorted order, and its examples
        for "train" and "dev".

    Raises:
        UserError: a file or a row that cannot be used (with its line), fewer than two labels, or a
            label that occurs only in the dev file.
    """
    columns = (config.text_column, config.text_pair_column, config.label_column)
    rows = read_table(config.train_file, *columns)
    if config.regression:
        task = Task(OWN_DATA, None, "PearsonAndSpearman", "spearman")
    else:
        task = Task(OWN_DATA, tuple(sorted({row.gold for row in rows}, key=_label_order)))
        if task.num_classes < 2:
            found = f"all rows have the label '{rows[0].gold}'"
            message = f"{config.train_file}: {found}: give rows of at least two labels"
            raise UserError("label", message)
    train = _examples(task, rows)
    if config.dev_file:
        dev = _examples(task, read_table(config.dev_file, *columns))
    else:
        train, dev = _hold_out(train, task, config)
    return task, {"train": train, "dev": dev}


def _label_order(name: str) -> tuple[int, Any]:
    """Numbers in numeric order, then words in alphabetic order."""
    return (0, int(name)) if name.lstrip("-").isdecimal() else (1, name)


def _examples(task: Task, rows: list[Row]) -> Examples:
    """The texts with class ids, or with scores for regression."""
    ids = {name: number for number, name in enumerate(task.label_names or ())}
    label_of = _score if task.regression else partial(_label_id, ids)
    return Examples([row.text for row in rows], [label_of(row) for row in rows])


def _label_id(ids: dict[str, int], row: Row) -> int:
    if row.gold not in ids:
        allowed = ", ".join(f"'{name}'" for name in ids)
        message = f"label '{row.gold}' is not one of the training file's: {allowed}"
        raise UserError("label", f"{row.where}: {message}")
    return ids[row.gold]


def _score(row: Row) -> float:
    try:
        score = float(row.gold)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError("label", f"{row.where}: '{row.gold}' is not a finite number (--regression)")
    return score


def _hold_out(examples: Examples, task: Task, config: Namespace) -> list[Examples]:
    """Split off ``--dev_share`` of the rows of each label; the seed decides which."""
    from sklearn.model_selection import train_test_split

    texts, labels = examples
    try:
        parts = train_test_split(
            np.arange(len(texts)),
            test_size=max(round(config.dev_share * len(texts)), task.num_classes),
            random_state=config.seed % 2**32,
            stratify=None if task.regression else labels,
        )
    except ValueError:  # fewer than two rows of a label, or no rows left for training
        found = f"{len(texts)} rows"
        if not task.regression:
            rarest, rows = Counter(labels).most_common()[-1]
            found = f"every label needs two rows, '{task.label_names[rarest]}' has {rows}"
        raise UserError(
            "label",
            f"{config.train_file} is too small to hold out {config.dev_share:.0%} as a dev set "
            f"({found}): add rows or give --dev_file",
        ) from None
    return [
        Examples([texts[i] for i in sorted(part)], [labels[i] for i in sorted(part)])
        for part in parts
    ]
