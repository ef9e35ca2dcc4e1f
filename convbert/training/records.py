"""The output of a fine-tuning run: lines in upstream's format, metrics, a curve."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from convbert.training.run_folder import (
    CONFUSION_FILE,
    CURVE_FILE,
    LOG_FILE,
    SUMMARY_FILE,
    Progress,
    fingerprint,
    read_records,
)
from paddlenlp.utils.files import (
    atomic_write,
    ensure_writable_dir,
    json_text,
    naming,
    write_json,
)
from paddlenlp.utils.logits import predicted_classes

TRAIN_LINE = (
    "global step {step}/{total_steps}, epoch: {epoch}, batch: {batch}, rank_id: {rank}, "
    "loss: {loss:.6f}, lr: {lr:.10f}, speed: {speed:.4f} step/s"
)
RULE = "=" * 100


class Recorder:
    """Prints and writes on rank 0; in the other processes it only measures time.

    Args:
        run: the ``train.Run`` to record.
        progress: the state it starts from; its ``seconds`` are updated.
    """

    def __init__(self, run, progress: Progress):
        self.run, self.progress = run, progress
        self.directory = Path(run.config.output_dir)
        self.active = run.ranks.is_main
        self.records = self._earlier_records() if progress.step else []
        self._examples = 0  # of this process since the start
        self._first_step, self._first_seconds = progress.step, progress.seconds
        self._resumed_at = time.perf_counter() - progress.seconds
        self._line = (progress.step, 0, progress.seconds)  # step, examples, seconds then
        self._curves = _visualdl(run.config.visualdl_dir) if self.active else None
        if progress.best:
            self._summarize()

    def bar(self, updates: Iterable) -> Iterator:
        """Yield the updates; show a progress bar if stderr is a terminal."""
        quiet = not (self.active and sys.stderr.isatty())
        options = {"unit": "step", "disable": quiet, "leave": False, "initial": self.progress.step}
        for update in tqdm(updates, total=self.run.total_steps, **options):
            self._examples += update.num_examples
            yield update

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the block as training time."""
        self._clock()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._resumed_at += time.perf_counter() - started

    def _clock(self) -> float:
        self.progress.seconds = time.perf_counter() - self._resumed_at
        return self.progress.seconds

    def training(self, update, loss: float, lr: float) -> None:
        """Print and write the mean loss since the last line, the learning rate and the speed."""
        now = (update.step, self._examples * self.run.ranks.size, self._clock())
        steps, examples, seconds = (new - old for new, old in zip(now, self._line))
        self._line = now
        line = TRAIN_LINE.format(
            step=update.step,
            total_steps=self.run.total_steps,
            epoch=update.epoch,
            batch=update.batch,
            rank=self.run.ranks.rank,
            loss=loss,
            lr=lr,
            speed=steps / seconds,
        )
        self._say(line)
        self._write(
            kind="train",
            step=update.step,
            epoch=update.epoch,
            loss=loss,
            lr=lr,
            steps_per_second=steps / seconds,
            examples_per_second=examples / seconds,
            seconds=now[2],
        )

    def evaluation(self, update, results: dict[str, dict[str, float]], seconds: float) -> None:
        """Print and write the results of all dev splits."""
        for split, values in results.items():
            named = f"{split} " if len(results) > 1 else ""
            shown = "".join(f"{key.replace('_', ' ')}: {values[key]}, " for key in _metrics(values))
            self._say(f"{named}eval loss: {values['loss']:.6f}, {shown}")
            self._write(kind="eval", step=update.step, epoch=update.epoch, split=split, **values)
        self._say(f"eval done total : {seconds} s")
        self._say(RULE)

    def best(self, logits: dict[str, np.ndarray]) -> None:
        """Write metrics.json and confusion.json after a new best checkpoint.

        Args:
            logits: [examples, C] float32 of each dev split.
        """
        self._summarize()
        names = self.run.task.label_names
        if self.active and names:
            splits = {split.name: split.labels for split in self.run.dev}
            content = {
                name: confusion(labels, predicted_classes(logits[name]), names)
                for name, labels in splits.items()
            }
            write_json(self.directory / CONFUSION_FILE, content)

    def finish(self) -> None:
        """Write totals and curve and print the last line."""
        self._clock()
        if self._curves:
            self._curves.close()
        if not self.active or not self.progress.step:
            return
        self._summarize()
        selection, best = self.run.task.selection, self.progress.best
        if self.records:
            with atomic_write(self.directory / CURVE_FILE, "wb") as file:
                file.write(draw_curve(self.records, selection))
        if best is not None:
            stopped = f"stopped at step {self.progress.step} of {self.run.total_steps}"
            value = next(iter(best["dev"].values()))[selection]
            origin = " of an earlier run" if best.get("earlier_run") else ""
            done = "finished" if self._finished else stopped
            self._say(f"{done}; best {selection}: {value} at step {best['step']}{origin}")

    @property
    def _finished(self) -> bool:
        return self.progress.evaluated == self.run.total_steps

    def _summarize(self) -> None:
        run, seconds = self.run, self.progress.seconds - self._first_seconds
        summary = {
            "task_name": run.task.name,
            "selection": run.task.selection,
            "best": self.progress.best,
            "steps": self.progress.step,
            "total_steps": run.total_steps,
            "finished": self._finished,
            "training_seconds": self.progress.seconds,
            "examples_per_second": self._examples * run.ranks.size / seconds if seconds else None,
            "device": str(run.model.parameters()[0].place)[len("Place(") : -1],
            "processes": run.ranks.size,
            "dev_data": fingerprint(*run.dev),
        }
        if self.active:
            write_json(self.directory / SUMMARY_FILE, summary)

    def _earlier_records(self) -> list[dict[str, Any]]:
        path = self.directory / LOG_FILE
        return read_records(path) if path.is_file() else []

    def _say(self, line: str) -> None:
        if self.active:
            tqdm.write(line, file=sys.stdout)  # above a progress bar, if there is one
            sys.stdout.flush()

    def _write(self, **record: Any) -> None:
        self.records.append(record)
        if self.active:
            path = self.directory / LOG_FILE
            with naming(path), open(path, "a", encoding="utf-8") as file:
                file.write(json_text(record) + "\n")
        if self._curves:
            place = "/".join(record[key] for key in ("kind", "split") if key in record)
            for name, value in record.items():
                if isinstance(value, float) and name != "seconds":
                    self._curves.add_scalar(f"{place}/{name}", value, record["step"])


def _visualdl(directory: str | None):
    """Return a VisualDL writer for the folder; None without a folder."""
    if directory is None:
        return None
    from visualdl import LogWriter

    return LogWriter(logdir=str(ensure_writable_dir(directory)))


def _metrics(values: dict[str, float]) -> list[str]:
    return [key for key in values if key != "loss"]


def confusion(labels: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Count the answers for each label.

    Args:
        labels, answers: [examples] int64 class ids.
        names: label names by class id.

    Returns:
        "labels"; "confusion", where row i, column j counts the examples of label i answered as j;
        "per_class", with precision, recall, F1 and support.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    ids = range(len(names))
    columns = precision_recall_fscore_support(labels, answers, labels=ids, zero_division=0)
    keys = ("precision", "recall", "f1", "support")
    return {
        "labels": list(names),
        "confusion": confusion_matrix(labels, answers, labels=ids).tolist(),
        "per_class": {
            name: dict(zip(keys, map(float, row))) for name, row in zip(names, zip(*columns))
        },
    }


def draw_curve(records: list[dict[str, Any]], selection: str) -> bytes:
    """Draw loss (training and dev) and the selection metric over the steps; returns a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    train = [record for record in records if record["kind"] == "train"]
    loss_axes.plot([r["step"] for r in train], [r["loss"] for r in train], label="train")
    for split in dict.fromkeys(r["split"] for r in records if r["kind"] == "eval"):
        rows = [r for r in records if r.get("split") == split]
        steps = [row["step"] for row in rows]
        loss_axes.plot(steps, [row["loss"] for row in rows], marker=".", label=split)
        metric_axes.plot(steps, [row[selection] for row in rows], marker=".", label=split)
    for axes, title in ((loss_axes, "loss"), (metric_axes, selection)):
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
