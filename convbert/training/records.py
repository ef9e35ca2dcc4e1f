"""The output of a fine-tuning run: lines in upstream's format, metrics, a curve."""

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from convbert.training import run_folder
from paddlenlp.utils.files import atomic_write, ensure_writable_dir, json_text, naming, write_json
from paddlenlp.utils.logits import predicted_classes

TRAIN_LINE = (
    "global step {step}/{total_steps}, epoch: {epoch}, batch: {batch}, rank_id: 0, "
    "loss: {loss:.6f}, lr: {lr:.10f}, speed: {steps_per_second:.4f} step/s"
)


class Recorder:
    """Prints and writes on rank 0; in the other processes it only measures time.

    Args:
        run: the ``train.Run`` to record.
        progress: the state it starts from; its ``seconds`` are updated.
    """

    def __init__(self, run, progress: run_folder.Progress):
        self.run, self.progress = run, progress
        self.directory = Path(run.config.output_dir)
        self.active = run.rank == 0
        self.log = self.directory / run_folder.LOG_FILE
        self._records = run_folder.read_records(self.log) if progress.step else []
        self._examples = 0  # of this process since the start
        self._start_seconds = progress.seconds
        self._line = (progress.step, 0, progress.seconds)  # step, examples, seconds then
        self._last_clock = time.perf_counter()
        self._curves = None
        if self.active and run.config.visualdl_dir:
            from visualdl import LogWriter

            self._curves = LogWriter(logdir=str(ensure_writable_dir(run.config.visualdl_dir)))
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
        """Do not count the block, an evaluation, as training time."""
        self._clock()
        try:
            yield
        finally:
            self._last_clock = time.perf_counter()

    def _clock(self) -> None:
        """Add the time since the last call to the training time."""
        now = time.perf_counter()
        self.progress.seconds += now - self._last_clock
        self._last_clock = now

    def training(self, update, loss: float, lr: float) -> None:
        """Print and write the mean loss since the last line, the learning rate and the speed."""
        self._clock()
        now = (update.step, self._examples, self.progress.seconds)
        steps, examples, seconds = (new - old for new, old in zip(now, self._line))
        self._line = now
        record = {
            "kind": "train",
            "step": update.step,
            "epoch": update.epoch,
            "loss": loss,
            "lr": lr,
            "steps_per_second": steps / seconds,
            "examples_per_second": examples * self.run.ranks / seconds,
            "seconds": self.progress.seconds,
        }
        total = self.run.total_steps
        self._say(TRAIN_LINE.format(**record, batch=update.batch, total_steps=total))
        self._write(record)

    def evaluation(self, update, results: dict[str, dict[str, float]]) -> None:
        """Print and write the results of all dev splits, and the seconds since the `pause`."""
        seconds = time.perf_counter() - self._last_clock
        place = {"kind": "eval", "step": update.step, "epoch": update.epoch}
        for split, values in results.items():
            named = f"{split} " if len(results) > 1 else ""
            metrics = [(name, value) for name, value in values.items() if name != "loss"]
            shown = "".join(f"{name.replace('_', ' ')}: {value}, " for name, value in metrics)
            self._say(f"{named}eval loss: {values['loss']:.6f}, {shown}")
            self._write({**place, "split": split, **values})
        self._say(f"eval done total : {seconds} s")
        self._say("=" * 100)

    def best(self, logits: dict[str, np.ndarray]) -> None:
        """Write metrics.json and confusion.json; ``logits`` [examples, C] of each dev split."""
        self._summarize()
        names = self.run.task.label_names
        if self.active and names:
            content = {
                split.name: confusion(split.labels, predicted_classes(logits[split.name]), names)
                for split in self.run.dev
            }
            write_json(self.directory / run_folder.CONFUSION_FILE, content)

    def finish(self) -> None:
        """Write totals and curve and print the last line."""
        self._clock()
        if self._curves:
            self._curves.close()
        if not self.active or not self.progress.step:
            return
        task, best = self.run.task, self.progress.best
        finished = self._summarize()["finished"]
        if self._records:
            with atomic_write(self.directory / run_folder.CURVE_FILE, "wb") as file:
                file.write(draw_curve(self._records, task.selection))
        if best is not None:
            stopped = f"stopped at step {self.progress.step} of {self.run.total_steps}"
            done = "finished" if finished else stopped
            origin = " of an earlier run" if best.get("earlier_run") else ""
            value = task.score(best["dev"])
            self._say(f"{done}; best {task.selection}: {value} at step {best['step']}{origin}")

    def _summarize(self) -> dict[str, Any]:
        run, progress = self.run, self.progress
        seconds = progress.seconds - self._start_seconds
        summary = {
            "task_name": run.task.name,
            "selection": run.task.selection,
            "best": progress.best,
            "steps": progress.step,
            "total_steps": run.total_steps,
            "finished": progress.evaluated == run.total_steps,
            "training_seconds": progress.seconds,
            "examples_per_second": self._examples * run.ranks / seconds if seconds else None,
            "device": str(run.model.parameters()[0].place)[len("Place(") : -1],
            "processes": run.ranks,
            "dev_data": run_folder.fingerprint(*run.dev),
        }
        if self.active:
            write_json(self.directory / run_folder.SUMMARY_FILE, summary)
        return summary

    def _say(self, line: str) -> None:
        if self.active:
            tqdm.write(line, file=sys.stdout)  # above a progress bar, if there is one
            sys.stdout.flush()

    def _write(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        if self.active:
            with naming(self.log), open(self.log, "a", encoding="utf-8") as file:
                file.write(json_text(record) + "\n")
        if self._curves:
            place = "/".join(record[key] for key in ("kind", "split") if key in record)
            for name, value in record.items():
                if isinstance(value, float) and name != "seconds":
                    self._curves.add_scalar(f"{place}/{name}", value, record["step"])


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
    rows = [dict(zip(keys, map(float, row))) for row in zip(*columns)]
    return {
        "labels": list(names),
        "confusion": confusion_matrix(labels, answers, labels=ids).tolist(),
        "per_class": dict(zip(names, rows)),
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
