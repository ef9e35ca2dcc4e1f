"""What a training run tells: printed lines in upstream's format, a metrics file and a curve."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from convbert.training.run_folder import (
    ARGS_FILE,
    BEST_DIR,
    CURVE_FILE,
    LOG_FILE,
    SUMMARY_FILE,
    save_checkpoint,
)
from convbert.training.trainer import Trainer, Update
from paddlenlp.utils.files import atomic_write, write_json

TRAIN_LINE = (
    "global step {step}/{total_steps}, epoch: {epoch}, batch: {batch}, rank_id: {rank}, "
    "loss: {loss:.6f}, lr: {lr:.10f}, speed: {speed:.4f} step/s"
)
RULE = "=" * 100
Results = dict[str, dict[str, float]]  # {dev split: {"loss": ..., metric name: ...}}


class Recorder:
    """Prints and writes on rank 0; on the other ranks it only keeps the same books.

    Args:
        directory: the run's output directory (see `convbert.training.run_folder`).
        trainer: whose progress is told.
    """

    def __init__(self, directory: Path, trainer: Trainer):
        self.directory, self.trainer = Path(directory), trainer
        self.active = trainer.ranks.is_main
        self.selection = trainer.task.selection
        self.best: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self._start = time.perf_counter()
        self._paused = 0.0  # seconds that were not training
        self._examples = 0  # over all ranks
        self._evaluated = 0  # last step whose evaluation was told
        self._line_start = (0, 0, 0.0)  # step, examples and seconds at the last printed line
        if self.active:
            write_json(self.directory / ARGS_FILE, trainer.config.to_dict())

    def progress(self, updates: Iterable[Update]) -> Iterator[Update]:
        """Yield the updates; with a progress bar on a terminal, silently into a log file."""
        quiet = not (self.active and sys.stderr.isatty())
        total = self.trainer.total_steps
        for update in tqdm(updates, total=total, unit="step", disable=quiet, leave=False):
            self._examples += update.num_examples * self.trainer.ranks.size
            yield update

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the block as training time."""
        started = time.perf_counter()
        yield
        self._paused += time.perf_counter() - started

    @property
    def training_seconds(self) -> float:
        """Seconds of training so far, without evaluations and saving."""
        return time.perf_counter() - self._start - self._paused

    def training(self, update: Update) -> None:
        """Print and write the mean loss since the last line, the learning rate and the speed."""
        loss = self.trainer.mean_loss()  # waits for the device, so the clock below is honest
        now = (update.step, self._examples, self.training_seconds)
        steps, examples, seconds = (new - old for new, old in zip(now, self._line_start))
        self._line_start = now
        line = TRAIN_LINE.format(
            step=update.step,
            total_steps=self.trainer.total_steps,
            epoch=update.epoch,
            batch=update.batch,
            rank=self.trainer.ranks.rank,
            loss=loss,
            lr=self.trainer.learning_rate,
            speed=steps / seconds,
        )
        self._say(line)
        self._write(
            kind="train",
            step=update.step,
            epoch=update.epoch,
            loss=loss,
            lr=self.trainer.learning_rate,
            steps_per_second=steps / seconds,
            examples_per_second=examples / seconds,
            seconds=now[2],
        )

    def evaluation(self, update: Update, results: Results, seconds: float) -> None:
        """Print and write the results of all dev splits."""
        for split, values in results.items():
            named = f"{split} " if len(results) > 1 else ""
            shown = "".join(f"{key.replace('_', ' ')}: {values[key]}, " for key in _metrics(values))
            self._say(f"{named}eval loss: {values['loss']:.6f}, {shown}")
            self._write(kind="eval", step=update.step, epoch=update.epoch, split=split, **values)
        self._evaluated = update.step
        self._say(f"eval done total : {seconds} s")
        self._say(RULE)

    def improves(self, results: Results) -> bool:
        """Whether these results are at least as good as the best so far."""
        return self.best is None or self._score(results) >= self._score(self.best["dev"])

    def keep_best(self, update: Update, results: Results) -> None:
        """Save the weights as the best so far, and note their results."""
        if self.active:
            tokenizer = self.trainer.train.processor.tokenizer
            save_checkpoint(self.directory / BEST_DIR, self.trainer.model, tokenizer)
        self.best = {"step": update.step, "epoch": update.epoch, "dev": results}
        self._summarize(update.step)

    def finish(self, last: Update | None) -> None:
        """Write totals and curve; ``last`` is the last step done, None if there was none."""
        if not self.active or last is None:
            return
        self._summarize(last.step)
        if self.records:
            with atomic_write(self.directory / CURVE_FILE, "wb") as file:
                file.write(draw_curve(self.records, self.selection))
        if self.best is not None:
            value = self._score(self.best["dev"])
            stopped = f"stopped at step {last.step} of {self.trainer.total_steps}"
            done = "finished" if self._finished else stopped
            self._say(f"{done}; best {self.selection}: {value} at step {self.best['step']}")

    def _score(self, results: Results) -> float:
        return next(iter(results.values()))[self.selection]  # the first dev split chooses

    @property
    def _finished(self) -> bool:
        return self._evaluated == self.trainer.total_steps

    def _summarize(self, step: int) -> None:
        summary = {
            "task_name": self.trainer.config.task_name,
            "selection": self.selection,
            "best": self.best,
            "steps": step,
            "total_steps": self.trainer.total_steps,
            "finished": self._finished,
            "training_seconds": self.training_seconds,
            "examples_per_second": self._examples / self.training_seconds,
            "device": self.trainer.device,
            "processes": self.trainer.ranks.size,
        }
        if self.active:
            write_json(self.directory / SUMMARY_FILE, _json_safe(summary))

    def _say(self, line: str) -> None:
        if self.active:
            tqdm.write(line, file=sys.stdout)  # above a progress bar, if there is one
            sys.stdout.flush()

    def _write(self, **record: Any) -> None:
        self.records.append(record)
        if self.active:
            with open(self.directory / LOG_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps(_json_safe(record)) + "\n")


def _metrics(values: dict[str, float]) -> list[str]:
    return [key for key in values if key != "loss"]


def _json_safe(value: Any) -> Any:
    """Replace nan and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
