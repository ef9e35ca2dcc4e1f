"""The output directory of a training run: one run at a time, and runs are never mixed.

args.json          the settings
metrics.jsonl      one JSON object per printed line, appended while training
metrics.json       the best evaluation and totals
curve.png          loss and metric over the steps
best.pdparams/     checkpoint directory with the best metric; replaced as a whole
previous/1, 2...   the records of earlier runs into the same directory (not their weights)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_directory, ensure_writable_dir, remove_unfinished
from paddlenlp.utils.log import get_logger

ARGS_FILE = "args.json"
LOG_FILE = "metrics.jsonl"
SUMMARY_FILE = "metrics.json"
CURVE_FILE = "curve.png"
BEST_DIR = "best.pdparams"  # a directory, under upstream's name
PREVIOUS_DIR = "previous"
LOCK_FILE = ".lock"
RECORDS = (ARGS_FILE, LOG_FILE, SUMMARY_FILE, CURVE_FILE)


@contextmanager
def open_run_dir(path: str) -> Iterator[Path]:
    """Hold a run's directory: make it, lock it, and move an earlier run's records aside.

    Raises:
        UserError: not writable, or another run is writing there.
    """
    directory = ensure_writable_dir(path)
    lock = filelock.FileLock(str(directory / LOCK_FILE))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            "busy",
            f"another run is writing to {directory}: wait for it or give another --output_dir",
        ) from None
    try:
        for name in (*RECORDS, BEST_DIR):
            remove_unfinished(directory / name)
        _archive(directory)
        yield directory
    finally:
        lock.release()


def _archive(directory: Path) -> None:
    records = [directory / name for name in RECORDS if (directory / name).exists()]
    if not records:
        return
    number = 1
    while (directory / PREVIOUS_DIR / str(number)).exists():
        number += 1
    target = directory / PREVIOUS_DIR / str(number)
    target.mkdir(parents=True)
    for record in records:
        os.replace(record, target / record.name)
    kept = f"; its {BEST_DIR} stays until this run's first evaluation"
    get_logger().info(
        "the records of the earlier run in %s are now in %s%s",
        directory,
        target,
        kept if (directory / BEST_DIR).is_dir() else "",
    )


def save_checkpoint(path: Path, model, tokenizer) -> None:
    """Write weights, configuration, vocabulary and label names; replaces ``path`` in one step."""
    with atomic_directory(path) as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
