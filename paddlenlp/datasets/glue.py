"""The nine GLUE tasks: a table of their official files, and the reader of these files.

Sources: the GLUE benchmark (Wang et al., 2018) and the archives that PaddleNLP publishes; their
checksums are part of the table. The files are tab-separated without any quoting: quote characters
in them are text.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlenlp.utils.download import extract_zip, fetch, file_lock, is_intact
from paddlenlp.utils.env import hub_url, ppnlp_home
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, ensure_writable_dir
from paddlenlp.utils.lines import read_lines
from paddlenlp.utils.log import get_logger

Row = tuple[int, list[str]]  # line number from 1, columns


@dataclass(frozen=True)
class Split:
    """The file ``<split>.tsv``; ``fields``: the columns of its texts, then of its label if any."""

    md5: str
    fields: tuple[int, ...]
    columns: int
    header: bool = True


@dataclass(frozen=True)
class GlueTask:
    """One task.

    ``labels`` are those in the files, None for regression with scores from 0 to 5; ``label_names``
    are their meanings if the files contain only numbers.
    """

    folder: str
    downloads: dict[str, str]  # full address, or path below the hub: MD5
    splits: dict[str, Split]
    labels: tuple[str, ...] | None
    pair: bool = True
    label_names: tuple[str, ...] | None = None
    bad_rows: int = 0  # rows with a wrong number of columns that may be skipped


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")

GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask(
        folder="CoLA",
        downloads={"dataset/glue/CoLA.zip": "b178a7c2f397b0433c39c7caf50a3543"},
        splits={
            "train": Split("c79d4693b8681800338aa044bf9e797b", (3, 1), 4, header=False),
            "dev": Split("c5475ccefc9e7ca0917294b8bbda783c", (3, 1), 4, header=False),
            "test": Split("d8721b7dedda0dcca73cebb2a9f4259f", (1,), 2),
        },
        labels=_BINARY,
        pair=False,
    ),
    "sst-2": GlueTask(
        folder="SST-2",
        downloads={"dataset/glue/SST.zip": "9f81648d4199384278b86e315dac217c"},
        splits={
            "train": Split("da409a0a939379ed32a470bc0f7fe99a", (0, 1), 2),
            "dev": Split("268856b487b2a31a28c0a93daaff7288", (0, 1), 2),
            "test": Split("3230e4efec76488b87877a56ae49675a", (1,), 2),
        },
        labels=_BINARY,
        pair=False,
        label_names=("negative", "positive"),
    ),
    "mrpc": GlueTask(
        folder="MRPC",
        downloads={
            "dataset/glue/mrpc/msr_paraphrase_train.txt": "793daf7b6224281e75fe61c1f80afe35",
            "dataset/glue/mrpc/dev_ids.tsv": "7ab59a1b04bd7cb773f98a0717106c9b",
            "dataset/glue/mrpc/msr_paraphrase_test.txt": "e437fdddb92535b820fe8852e2df8a49",
        },
        splits={
            "train": Split("dc2dac669a113866a6480a0b10cd50bf", (3, 4, 0), 5),
            "dev": Split("185958e46ba556b38c6a7cc63f3a2135", (3, 4, 0), 5),
            "test": Split("4825dab4b4832f81455719660b608de5", (3, 4), 5),
        },
        labels=_BINARY,
    ),
    "sts-b": GlueTask(
        folder="STS-B",
        downloads={"dataset/glue/STS.zip": "d573676be38f1a075a5702b90ceab3de"},
        splits={
            "train": Split("4f7a86dde15fe4832c18e5b970998672", (7, 8, 9), 10),
            "dev": Split("5f4d6b0d2a5f268b1b56db773ab2f1fe", (7, 8, 9), 10),
            "test": Split("339b5817e414d19d9bb5f593dd94249c", (7, 8), 9),
        },
        labels=None,
    ),
    "qqp": GlueTask(
        folder="QQP",
        downloads={
            "https://dataset.bj.bcebos.com/glue/QQP.zip": "884bf26e39c783d757acc510a2a516ef"
        },
        splits={
            "train": Split("e003db73d277d38bbd83a2ef15beb442", (3, 4, 5), 6),
            "dev": Split("cff6a448d1580132367c22fc449ec214", (3, 4, 5), 6),
            "test": Split("73de726db186b1b08f071364b2bb96d0", (1, 2), 3),
        },
        labels=_BINARY,
        bad_rows=20,  # a line break inside a question splits its row; all readers skip such rows
    ),
    "mnli": GlueTask(
        folder="MNLI",
        downloads={"dataset/glue/MNLI.zip": "e343b4bdf53f927436d0792203b9b9ff"},
        splits={
            "train": Split("220192295e23b6705f3545168272c740", (8, 9, 11), 12),
            "dev_matched": Split("c3fa2817007f4cdf1a03663611a8ad23", (8, 9, 15), 16),
            "dev_mismatched": Split("b219e6fe74e4aa779e2f417ffe713053", (8, 9, 15), 16),
            "test_matched": Split("33ea0389aedda8a43dabc9b3579684d9", (8, 9), 10),
            "test_mismatched": Split("7d2f60a73d54f30d8a65e474b615aeb6", (8, 9), 10),
        },
        labels=("contradiction", "entailment", "neutral"),
    ),
    "qnli": GlueTask(
        folder="QNLI",
        downloads={"dataset/glue/QNLI.zip": "b4efd6554440de1712e9b54e14760e82"},
        splits={
            "train": Split("5e6063f407b08d1f7c7074d049ace94a", (1, 2, 3), 4),
            "dev": Split("1e81e211959605f144ba6c0ad7dc948b", (1, 2, 3), 4),
            "test": Split("f2a29f83f3fe1a9c049777822b7fa8b0", (1, 2), 3),
        },
        labels=_ENTAILMENT,
    ),
    "rte": GlueTask(
        folder="RTE",
        downloads={"dataset/glue/RTE.zip": "bef554d0cafd4ab6743488101c638539"},
        splits={
            "train": Split("d2844f558d111a16503144bb37a8165f", (1, 2, 3), 4),
            "dev": Split("973cb4178d4534cf745a01c309d4a66c", (1, 2, 3), 4),
            "test": Split("6041008f3f3e48704f57ce1b88ad2e74", (1, 2), 3),
        },
        labels=_ENTAILMENT,
    ),
    "wnli": GlueTask(
        folder="WNLI",
        downloads={"dataset/glue/WNLI.zip": "a1b4bd2861017d302d29e42139657a42"},
        splits={
            "train": Split("5cdc5a87b7be0c87a6363fa6a5481fc1", (1, 2, 3), 4),
            "dev": Split("a79a6dd5d71287bcad6824c892e517ee", (1, 2, 3), 4),
            "test": Split("a18789ba4f60f6fdc8cb4237e4ba24b5", (1, 2), 3),
        },
        labels=_BINARY,
    ),
}

# MRPC is published as two raw files and the list of pairs that form the dev split.
_MRPC_TRAIN, _MRPC_DEV_IDS, _MRPC_TEST = map(os.path.basename, GLUE_TASKS["mrpc"].downloads)


def read_glue(
    name: str, split: str, data_dir: PathLike | None = None
) -> tuple[list[dict[str, Any]], list[str] | None]:
    """Read one split; see `load_dataset` for the examples and errors.

    Returns:
        (examples, label texts by id; None for regression and test splits).
    """
    if name not in GLUE_TASKS:
        names = ", ".join(GLUE_TASKS)
        raise UserError("data-set", f"unknown GLUE task '{name}': choose from {names}")
    task = GLUE_TASKS[name]
    if split not in task.splits:
        names = ", ".join(task.splits)
        raise UserError("data-set", f"{name} has no split '{split}': choose from {names}")
    where = task.splits[split]
    directory = _given_dir(task, data_dir) if data_dir else _downloaded_dir(name, task, split)
    path = directory / f"{split}.tsv"
    if name == "mrpc" and not path.is_file():
        path, rows = _mrpc_rows(directory, split, task)
    else:
        rows = _rows(path, where, task)
    keys = ("sentence1", "sentence2") if task.pair else ("sentence",)
    labelled = len(where.fields) > len(keys)
    examples = []
    for line, columns in rows:
        example: dict[str, Any] = {key: columns[field] for key, field in zip(keys, where.fields)}
        if labelled:
            example["labels"] = _label(task, columns[where.fields[-1]], f"{path}, line {line}")
        examples.append(example)
    if not examples:
        raise UserError("empty-input", f"{path} contains no examples: give the official file")
    return examples, list(task.labels) if labelled and task.labels else None


def _label(task: GlueTask, text: str, place: str) -> Any:
    if task.labels is not None:
        if text not in task.labels:
            labels = ", ".join(task.labels)
            raise UserError("label", f"{place}: label '{text}' is not one of {labels}")
        return task.labels.index(text)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0.0 <= score <= 5.0:  # also rejects nan
        raise UserError("label", f"{place}: score '{text}' is not a number from 0 to 5")
    return score


def _rows(path: Path, where: Split, task: GlueTask) -> Iterator[Row]:
    """Yield the rows below the header; a first line that ends in a label is not a header."""
    lines = [text for _, text in read_lines(str(path))]
    while lines and not lines[-1]:
        lines.pop()
    bad: list[int] = []
    for line, text in enumerate(lines, start=1):
        columns = text.split("\t")
        whole = len(columns) == where.columns
        if where.header and line == 1:
            labelled = len(where.fields) > 1 + task.pair
            if not (whole and labelled and columns[where.fields[-1]] in (task.labels or ())):
                continue
            get_logger().warning("%s has no header: its first line is read as an example", path)
        if whole:
            yield line, columns
            continue
        bad.append(line)
        if len(bad) > task.bad_rows:
            found = f"{len(columns)} columns instead of {where.columns}"
            raise UserError("row", f"{path}, line {line}: {found}; give the official file")
    if bad:
        get_logger().warning("%s: skipped %d incomplete rows, at lines %s", path, len(bad), bad)


def _mrpc_rows(directory: Path, split: str, task: GlueTask) -> tuple[Path, Iterator[Row]]:
    """Return (file, rows) of a split from the raw files of the MSR paraphrase corpus."""
    path = directory / (_MRPC_TEST if split == "test" else _MRPC_TRAIN)
    if not path.is_file():
        names = f"neither {split}.tsv nor {path.name}"
        raise UserError("data-set", f"{directory} contains {names}: correct --data_dir")
    rows = _rows(path, task.splits[split], task)
    if split == "test":
        return path, rows
    ids = Split("", (), columns=2, header=False)
    dev_ids = {tuple(columns) for _, columns in _rows(directory / _MRPC_DEV_IDS, ids, task)}
    in_dev = split == "dev"
    return path, (row for row in rows if (tuple(row[1][1:3]) in dev_ids) == in_dev)


def _given_dir(task: GlueTask, data_dir: PathLike) -> Path:
    """Return the directory with the task's files: ``data_dir`` or the task's folder in it."""
    directory = Path(data_dir)
    if not directory.is_dir():
        message = f"data directory {directory} does not exist: correct --data_dir"
        raise UserError("file-missing", message)
    inner = directory / task.folder
    return inner if inner.is_dir() else directory


def _downloaded_dir(name: str, task: GlueTask, split: str) -> Path:
    """Return the cached directory with the task's files, downloading them on first use."""
    home = ppnlp_home() / "datasets" / "glue"
    hint = f"download it elsewhere and give its directory with --data_dir DIR ({task.folder} files)"
    addresses = [
        (address if "://" in address else f"{hub_url()}/{address}", md5)
        for address, md5 in task.downloads.items()
    ]
    if name == "mrpc":
        for address, md5 in addresses:
            fetch(address, home / task.folder / os.path.basename(address), md5=md5, hint=hint)
        return home / task.folder
    ((address, md5),) = addresses
    unpacked = home / name
    path, expected = unpacked / task.folder / f"{split}.tsv", task.splits[split].md5
    ensure_writable_dir(home)
    with file_lock(unpacked):
        if not is_intact(path, expected):
            extract_zip(fetch(address, home / f"{name}.zip", md5=md5, hint=hint), unpacked)
            if not is_intact(path, expected):
                message = f"{address} does not contain the expected {task.folder}/{path.name}"
                raise UserError("data-set", f"{message}; {hint}")
    return path.parent
