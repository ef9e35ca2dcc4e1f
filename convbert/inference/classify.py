"""Classifying many texts in batches, and writing the answers; the engine is a function."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import IO

import numpy as np

from convbert.inference.inference_flags import DefaultPath
from convbert.text.processing import Prediction, TextProcessor, length_sorted_batches
from convbert.text.reading import Row, with_label_ids
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, json_text, naming
from paddlenlp.utils.log import get_logger

# Batches whose texts are sorted by length together; bounds memory on endless input.
WINDOW_BATCHES = 64
# Maps two [B, L] int64 arrays, input_ids and token_type_ids, to logits [B, C].
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class Timings:
    """Seconds spent in each stage, over all batches."""

    preprocess: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    batches: list[float] = field(default_factory=list)  # inference seconds of each batch


def classify(
    rows: Iterable[Row],
    processor: TextProcessor,
    run: Run,
    batch_size: int = 1,
    timings: Timings | None = None,
) -> Iterator[tuple[Row, Prediction]]:
    """Classify texts and yield the answers in order; texts of similar length share a batch.

    Args:
        rows: texts, read lazily in windows of ``64 * batch_size``.
        processor: encodes texts and decodes logits.
        run: maps two [B, L] int64 arrays to logits [B, C].
        batch_size: largest number of texts in one run.
        timings: if given, the seconds of each stage are added to it.
    """
    timings = timings or Timings()
    rows, warned = iter(rows), False
    while True:
        window = list(islice(rows, WINDOW_BATCHES * batch_size))
        if not window:
            return
        start = time.perf_counter()
        places = [row.where for row in window]
        features = processor.encode([row.text for row in window], places=places)
        timings.preprocess += time.perf_counter() - start
        if not warned and any(feature.truncated for feature in features):
            get_logger().warning("texts longer than %d tokens are cut", processor.max_seq_len)
            warned = True
        answers: dict[int, Prediction] = {}
        lengths = [len(feature.input_ids) for feature in features]
        for batch in length_sorted_batches(lengths, batch_size):
            predictions = _run_batch([features[i] for i in batch], processor, run, timings)
            answers.update(zip(batch, predictions))
        yield from ((row, answers[index]) for index, row in enumerate(window))


def _run_batch(features, processor, run, timings: Timings) -> list[Prediction]:
    start = time.perf_counter()
    arrays = processor.collate(features)
    encoded = time.perf_counter()
    logits = run(*arrays)
    computed = time.perf_counter()
    predictions = processor.decode(logits)
    timings.preprocess += encoded - start
    timings.inference += computed - encoded
    timings.batches.append(computed - encoded)
    timings.postprocess += time.perf_counter() - computed
    return predictions


@dataclass
class Report:
    """The answers of a run, and how many of them matched the true labels."""

    label_ids: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    probs: list[float] = field(default_factory=list)
    judged: int = 0
    correct: int = 0

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among the texts with a true label; None without labels."""
        return self.correct / self.judged if self.judged else None

    def add(self, row: Row, prediction: Prediction) -> None:
        """Count one answer."""
        self.label_ids.append(prediction.label_id)
        self.labels.append(prediction.label)
        self.probs.append(prediction.prob)
        if row.label_id is not None:
            self.judged += 1
            self.correct += row.label_id == prediction.label_id

    def save_npy(self, file: IO[bytes]) -> None:
        """Write label_id [n] int64 and prob [n] float64 in the form of reprod_log."""
        content = {
            "label_id": np.array(self.label_ids, dtype=np.int64),
            "prob": np.array(self.probs, dtype=np.float64),
        }
        np.save(file, content)


def classify_and_report(
    rows: Iterable[Row],
    processor: TextProcessor,
    run: Run,
    args: argparse.Namespace,
    line: Callable[[Row, Prediction], str],
    timings: Timings | None = None,
) -> Report:
    """Classify, print each answer, write ``--output_file`` and ``--output_npy``, print accuracy.

    The files are opened before the first text, and appear only after the last one was classified.

    Args:
        rows: the texts.
        processor, run, timings: as in `classify`.
        args: the flags of `convbert.inference.inference_flags.add_text_flags`.
        line: formats the printed line of an answer.
    """
    report = Report()
    if args.label_column:
        rows = with_label_ids(rows, processor.label_names, processor.num_classes)
    with ExitStack() as files:
        npy = _open_npy(files, args.output_npy)
        jsonl = files.enter_context(atomic_write(args.output_file)) if args.output_file else None
        for row, prediction in classify(rows, processor, run, args.batch_size, timings):
            report.add(row, prediction)
            with naming("standard output"):  # not the output files, which are open too
                print(line(row, prediction))
            if jsonl:
                jsonl.write(json_text(_as_json(row, prediction), ensure_ascii=False) + "\n")
        if npy:
            report.save_npy(npy)
    if report.accuracy is not None:
        print(f"accuracy: {report.accuracy:.4f} ({report.correct} of {report.judged})")
    return report


def _open_npy(files: ExitStack, path: str) -> IO[bytes] | None:
    """Open ``--output_npy``; None if the user did not set it and it cannot be written."""
    try:
        return files.enter_context(atomic_write(path, "wb"))
    except UserError as error:
        if not isinstance(path, DefaultPath):
            raise
        get_logger().warning("%s; %s is not written", error, path)
        return None


def answer_line(row: Row, prediction: Prediction) -> str:
    """The line that the inference command prints for a text."""
    return f"text: {row.text}, {prediction}"


def _as_json(row: Row, prediction: Prediction) -> dict:
    text = row.text if isinstance(row.text, str) else list(row.text)
    return {
        "text": text,
        "label_id": prediction.label_id,
        "label": prediction.label,
        "prob": prediction.prob,
    }
