"""A task made from the user's own files: texts and labels in columns of a table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from convbert.text.tables import Table, cell_label, read_table, row_text
from convbert.training.settings import TrainConfig
from convbert.training.tasks import Examples, Task
from paddlenlp.utils.errors import UserError

TEXT_COLUMNS = ("text", "sentence")  # the first that exists is used if --text_column is not given
OWN_DATA = "own data"  # name of the task in the records


def open_own_data(config: TrainConfig) -> tuple[Task, dict[str, Examples]]:
    """Read ``--train_file`` and ``--dev_file``, or hold out a part of the training file.

    Returns:
        The task, whose labels are those of the training file in sorted order, and its examples
        for "train" and "dev".

    Raises:
        UserError: a file or a row that cannot be used (with its line), fewer than two labels, or a
            label that occurs only in the dev file.
    """
    table = read_table(config.train_file)
    texts, labels = read_columns(table, config)
    if config.regression:
        task = Task(OWN_DATA, None, "PearsonAndSpearman", "spearman")
    else:
        names = sorted(set(labels), key=_label_order)
        if len(names) < 2:
            raise UserError("label", f"{table.path}: all rows have the label '{names[0]}'")
        task = Task(OWN_DATA, tuple(names))
    train = Examples(texts, _label_ids(task, labels, table))
    if config.dev_file:
        dev_table = read_table(config.dev_file)
        texts, labels = read_columns(dev_table, config)
        dev = Examples(texts, _label_ids(task, labels, dev_table))
    else:
        train, dev = _hold_out(train, task, config)
    return task, {"train": train, "dev": dev}


def read_columns(table: Table, config: Any) -> tuple[list, list[str]]:
    """Return the texts (or pairs) and the labels of a table; labels are strings.

    Args:
        table: the table.
        config: has ``text_column``, ``text_pair_column`` (either may be None) and ``label_column``.

    Raises:
        UserError: there is no such column, or a cell is empty (with its line).
    """
    columns = text_columns(table, config)
    label_column = table.require(config.label_column)
    texts, labels = [], []
    for place, row in zip(table.places, table.rows):
        texts.append(row_text(row, columns, place))
        labels.append(cell_label(row, label_column, place))
        cells = [texts[-1]] if len(columns) == 1 else texts[-1]
        if [*cells, labels[-1]] == [*columns, label_column]:  # concatenated files
            raise UserError("row", f"{place} repeats the header: remove it")
    return texts, labels


def text_columns(table: Table, config: Any) -> list[str]:
    """Return the column of the texts and, for pairs, of the second texts; see `read_columns`."""
    first = config.text_column or next(
        (name for name in TEXT_COLUMNS if name in table.columns), TEXT_COLUMNS[0]
    )
    pair = [config.text_pair_column] if config.text_pair_column else []
    return [table.require(name) for name in (first, *pair)]


def _label_order(name: str) -> tuple[int, Any]:
    """Numbers in numeric order, then words in alphabetic order."""
    return (0, int(name)) if name.lstrip("-").isdecimal() else (1, name)


def _label_ids(task: Task, labels: list[str], table: Table) -> list:
    """Class ids, or scores for regression."""
    if task.regression:
        return [_score(text, place) for text, place in zip(labels, table.places)]
    ids = {name: number for number, name in enumerate(task.label_names)}
    for label, place in zip(labels, table.places):
        if label not in ids:
            allowed = ", ".join(f"'{name}'" for name in task.label_names)
            raise UserError(
                "label", f"{place}: label '{label}' is not one of the training file's: {allowed}"
            )
    return [ids[label] for label in labels]


def _score(text: str, place: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not np.isfinite(score):
        raise UserError("label", f"{place}: '{text}' is not a finite number (--regression)")
    return score


def _hold_out(examples: Examples, task: Task, config: TrainConfig) -> tuple[Examples, Examples]:
    """Split off ``--dev_share`` of the rows of each label; the seed decides which."""
    from sklearn.model_selection import train_test_split

    texts, labels = examples
    count = max(round(config.dev_share * len(texts)), 1 if task.regression else task.num_classes)
    rest = len(texts) - count
    rare, number = (0, 2) if task.regression else min(Counter(labels).items(), key=lambda n: n[1])
    if rest < max(1, task.num_classes) or number < 2:
        found = "" if task.regression else f"; label '{task.label_names[rare]}' has {number}"
        raise UserError(
            "label",
            f"{config.train_file} is too small to hold out a dev set (every label needs at least "
            f"two rows{found}): add rows or give --dev_file",
        )
    indices = np.arange(len(texts))
    strata = None if task.regression else labels
    kept, held = train_test_split(
        indices, test_size=count, random_state=config.seed % 2**32, stratify=strata
    )
    return tuple(
        Examples([texts[i] for i in sorted(part)], [labels[i] for i in sorted(part)])
        for part in (kept, held)
    )
