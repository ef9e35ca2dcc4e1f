"""A task made from the user's own files: texts and labels in columns of a table."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import Counter
from typing import Any

import numpy as np

from convbert.text.tables import Table, cell_label, read_table, row_text
from convbert.training.tasks import Examples, Task
from paddlenlp.utils.errors import UserError

TEXT_COLUMNS = ("text", "sentence")  # the first that exists is used if --text_column is not given
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
    table = read_table(config.train_file)
    texts, labels = read_columns(table, config)
    if config.regression:
        task = Task(OWN_DATA, None, "PearsonAndSpearman", "spearman")
    else:
        task = Task(OWN_DATA, tuple(sorted(set(labels), key=_label_order)))
        if task.num_classes < 2:
            raise UserError("label", f"{table.path}: all rows have the label '{labels[0]}'")
    train = Examples(texts, _label_ids(task, labels, table))
    if config.dev_file:
        dev_table = read_table(config.dev_file)
        texts, labels = read_columns(dev_table, config)
        dev = Examples(texts, _label_ids(task, labels, dev_table))
    else:
        train, dev = _hold_out(train, task, config)
    return task, {"train": train, "dev": dev}


def read_columns(table: Table, config: Namespace) -> tuple[list, list[str]]:
    """Return the texts (or pairs) and the labels of a table; labels are strings.

    Args:
        table: the table.
        config: has ``text_column``, ``text_pair_column`` (either may be None) and ``label_column``.

    Raises:
        UserError: there is no such column, or a cell is empty (with its line).
    """
    columns = text_columns(table, config)
    label_column = table.require(config.label_column)
    header = [*columns, label_column]
    texts, labels = [], []
    for place, row in zip(table.places, table.rows):
        texts.append(row_text(row, columns, place))
        labels.append(cell_label(row, label_column, place))
        if [str(row[name]).strip() for name in header] == header:  # concatenated files
            raise UserError("row", f"{place} repeats the header: remove it")
    return texts, labels


def text_columns(table: Table, config: Namespace) -> list[str]:
    """Return the column of the texts and, for pairs, of the second texts; see `read_columns`."""
    usual = [name for name in TEXT_COLUMNS if name in table.columns]
    names = [config.text_column or (usual or TEXT_COLUMNS)[0], config.text_pair_column]
    return [table.require(name) for name in names if name]


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
            allowed = ", ".join(f"'{name}'" for name in ids)
            raise UserError(
                "label", f"{place}: label '{label}' is not one of the training file's: {allowed}"
            )
    return [ids[label] for label in labels]


def _score(text: str, place: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError("label", f"{place}: '{text}' is not a finite number (--regression)")
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
        rarest, rows = Counter(labels).most_common()[-1]
        label = rarest if task.regression else task.label_names[rarest]
        raise UserError(
            "label",
            f"{config.train_file} is too small to hold out {config.dev_share:.0%} as a dev set "
            f"(label '{label}' has {rows} rows): add rows or give --dev_file",
        ) from None
    return [
        Examples([texts[i] for i in sorted(part)], [labels[i] for i in sorted(part)])
        for part in parts
    ]
