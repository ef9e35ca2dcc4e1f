"""The output directory of a training run: one run at a time; better models are not overwritten.

args.json          the settings
metrics.jsonl      one JSON object per printed line, appended while training
metrics.json       the best evaluation and totals
confusion.json     confusion matrix, precision, recall and F1 per class, of the best evaluation
curve.png          loss and metric over the steps
report.html        report on the best checkpoint, written by tools/report.py
best.pdparams/     checkpoint directory with the best metric; replaced as a whole
states/step-N/     everything needed to resume an unfinished run; removed when it has finished
previous/1, 2...   the records of earlier runs into the same directory (not their weights)
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convbert.training.settings import identity
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.utils import files
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.products import MANIFEST_FILE, check_replaceable, product_directory

ARGS_FILE = "args.json"
LOG_FILE = "metrics.jsonl"
SUMMARY_FILE = "metrics.json"
CURVE_FILE = "curve.png"
CONFUSION_FILE = "confusion.json"
REPORT_FILE = "report.html"
RECORDS = (ARGS_FILE, LOG_FILE, SUMMARY_FILE, CURVE_FILE, CONFUSION_FILE, REPORT_FILE)
BEST_DIR = "best.pdparams"  # a directory, under upstream's name


@dataclass
class Progress:
    """The progress of a run; with weights and optimizer it is the full state."""

    step: int = 0  # optimizer steps done
    logged: int = 0  # the last step with a printed line
    evaluated: int = 0  # the last step with an evaluation
    best: dict[str, Any] | None = None  # "step", "epoch" and "dev" of the best evaluation
    losses: list[Any] = field(default_factory=list)  # scalars, since the last printed line
    seconds: float = 0.0  # of training, without evaluations and saving


@contextmanager
def locked(path: str) -> Iterator[Path]:
    """Make and lock a run's directory for the block; remove unfinished files of a killed run.

    Raises:
        UserError: not writable, or another run is writing there.
    """
    directory = files.ensure_writable_dir(path)
    if (directory / MANIFEST_FILE).exists():
        message = f"{directory} is a product of another command: give another --output_dir"
        raise UserError("occupied", message)
    busy = f"another run is writing to {directory}: wait for it or give another --output_dir"
    with files.exclusive(directory / ".lock", busy):
        for name in (*RECORDS, BEST_DIR):
            files.remove_unfinished(directory / name)
        yield directory


def prepare(run) -> Progress:
    """Start a run in its directory, or with ``--resume`` continue the one that is there.

    Args:
        run: a ``train.Run``; its weights and optimizer are restored on ``--resume``.

    Raises:
        UserError: the directory has an unfinished run, or the best model of another task or data
            set; with ``--resume``: there is nothing to continue, or the settings differ.
    """
    config, directory = run.config, Path(run.config.output_dir)
    if config.resume:
        return _resume(run)
    if run.rank > 0:
        return Progress()
    check_replaceable(directory / BEST_DIR, "checkpoint", [config.model_name_or_path])
    best = None
    if config.overwrite:
        remove_states(run)
    elif saved := _saved(run):
        raise UserError(
            "resume",
            f"{directory} has an unfinished run ({saved[-1].name}): continue it with --resume, "
            "replace it with --overwrite, or give another --output_dir",
        )
    elif (directory / BEST_DIR).exists():
        best = _earlier_best(run, directory)
    _archive(directory)
    files.write_json(directory / ARGS_FILE, vars(config))
    return Progress(best=best)


def save_best(run) -> None:
    """Write weights, configuration, vocabulary and label names as the best checkpoint."""
    if run.rank == 0:
        best = Path(run.config.output_dir) / BEST_DIR
        with product_directory(best, "checkpoint", settings=_state(run).identity) as work:
            run.model.save_pretrained(work)
            run.train.processor.tokenizer.save_pretrained(work)


def save_state(run, progress: Progress) -> None:
    """Write a state to resume from; only the last ``--keep_states`` are kept."""
    keep = run.config.keep_states
    if run.rank > 0 or not keep or not progress.step:
        return
    scaler = dict(run.scaler.state_dict())  # empty unless --use_amp with float16
    if "scale" in scaler:
        scaler["scale"] = scaler["scale"].tolist()  # for JSON
    values = {
        **asdict(progress),
        "losses": [float(loss) for loss in progress.losses],
        "scaler": scaler,
    }
    name = f"step-{progress.step:08d}"
    _state(run).write(Path(run.config.output_dir) / "states" / name, values)
    for old in _saved(run)[:-keep]:
        shutil.rmtree(old)


def remove_states(run) -> None:
    """Remove the states of this directory's run, which has finished or is overwritten."""
    if run.rank == 0:
        shutil.rmtree(Path(run.config.output_dir) / "states", ignore_errors=True)


def _saved(run) -> list[Path]:
    """The states in a run's directory, the oldest first."""
    return sorted(Path(run.config.output_dir, "states").glob("step-*"))


def _state(run):
    from convbert.training.state import State

    data = fingerprint(run.train, *run.dev)
    same = {**identity(run.config), "processes": run.ranks, "data": data}
    parts, tokenizer = {"model": run.model}, run.train.processor.tokenizer
    return State(parts, run.model, tokenizer, run.optimizer, run.schedule, same)


def _resume(run) -> Progress:
    import paddle

    directory = Path(run.config.output_dir)
    values = _state(run).read(_saved(run)[-1])  # `train_settings` has checked that there is one
    if values["scaler"]:
        run.scaler.load_state_dict(values["scaler"])
    progress = Progress(**{name: values[name] for name in asdict(Progress())})
    progress.losses = [paddle.to_tensor(loss, "float32") for loss in progress.losses]
    if run.rank == 0:
        # The records after this step are written again.
        log = directory / LOG_FILE
        kept = [record for record in read_records(log) if record["step"] <= progress.step]
        with files.atomic_write(log) as file:
            file.writelines(files.json_text(record) + "\n" for record in kept)
        get_logger().info("continuing at step %d of %d", progress.step, run.total_steps)
    return progress


def fingerprint(*splits) -> int:
    """A number that changes with the tokens and labels of the splits."""
    total = 0
    for split in splits:
        for array in (split.input_ids, split.ends, split.labels):
            total = zlib.crc32(array.tobytes(), total)
    return total


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run; [] if there is no such file.

    Raises:
        UserError: a line is not a record (named).
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
            step = records[-1]["step"]
        except (ValueError, TypeError, KeyError):
            step = None
        if type(step) is not int:
            raise UserError("file-damaged", f"{path}, line {number} is not a record: remove it")
    return records


def _earlier_best(run, directory: Path) -> dict[str, Any]:
    """The best evaluation of an earlier run; this run must reach it to replace that model."""
    summary = directory / SUMMARY_FILE
    values = read_json(str(summary)) if summary.is_file() else {}
    best = values.get("best")
    facts = {"task_name": run.task.name, "dev_data": fingerprint(*run.dev)}
    if best is None or any(values.get(name) != value for name, value in facts.items()):
        raise UserError(
            "resume",
            f"{directory / BEST_DIR} is not the best model of this task and dev set: give another "
            "--output_dir, or --overwrite to replace it",
        )
    get_logger().info(
        "%s of an earlier run has %s %s; an equal or better result of this run replaces it "
        "(--overwrite: the first result)",
        directory / BEST_DIR,
        run.task.selection,
        run.task.score(best["dev"]),
    )
    return {**best, "earlier_run": True}


def _archive(directory: Path) -> None:
    """Move the records of an earlier run into the next free folder below previous/."""
    records = [directory / name for name in RECORDS if (directory / name).exists()]
    if not records:
        return
    number = 1
    while (target := directory / "previous" / str(number)).exists():
        number += 1
    target.mkdir(parents=True)
    for record in records:
        os.replace(record, target / record.name)
    get_logger().info("the records of the earlier run in %s are now in %s", directory, target)
