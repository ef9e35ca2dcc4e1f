"""Classifying many texts in batches, and writing the answers; the engine is a function."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

import numpy as np

from convbert.inference.inference_flags import DefaultPath
from convbert.text.processing import Prediction, TextProcessor, length_sorted_batches
from convbert.text.reading import Row, with_label_ids
from paddlenlp.transformers.tokenizer_utils import Features
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, json_text, naming
from paddlenlp.utils.log import get_logger

# Batches whose texts are sorted by length together; bounds memory on endless input.
WINDOW_BATCHES = 64
# Maps two [B, L] int64 arrays, input_ids and token_type_ids, to logits [B, C].
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class Timings:
    """Seconds spent in each stage, over all batches, and whether a text was cut."""

    preprocess: float = 0.0
    postprocess: float = 0.0
    batches: list[float] = field(default_factory=list)  # inference seconds of each batch
    cut: bool = False


def logits_of(
    rows: Sequence[Row], processor: TextProcessor, run: Run, batch_size: int, timings: Timings
) -> np.ndarray:
    """Encode T texts and return their logits [T, C]; see `run_by_length`."""
    start = time.perf_counter()
    features = processor.encode([row.text for row in rows], places=[row.where for row in rows])
    if not timings.cut and any(feature.truncated for feature in features):
        get_logger().warning("texts longer than %d tokens are cut", processor.max_seq_len)
        timings.cut = True
    timings.preprocess += time.perf_counter() - start
    return run_by_length(features, processor, run, batch_size, timings)


def run_by_length(
    features: Sequence[Features],
    processor: TextProcessor,
    run: Run,
    batch_size: int,
    timings: Timings | None = None,
) -> np.ndarray:
    """Return the logits [T, C] of T encoded texts, in their order.

    Texts of similar length share a batch. The seconds of each stage are added to ``timings``.
    """
    timings = timings or Timings()
    logits, order = [], []
    lengths = [len(feature.input_ids) for feature in features]
    for batch in length_sorted_batches(lengths, batch_size):
        start = time.perf_counter()
        arrays = processor.collate([features[index] for index in batch])
        encoded = time.perf_counter()
        logits.append(run(*arrays))
        timings.batches.append(time.perf_counter() - encoded)
        timings.preprocess += encoded - start
        order += batch
    return np.concatenate(logits)[np.argsort(order)]


def classify(
    rows: Iterable[Row],
    processor: TextProcessor,
    run: Run,
    batch_size: int = 1,
    timings: Timings | None = None,
) -> Iterator[tuple[Row, Prediction]]:
    """Classify texts and yield the answers in order; see `logits_of`.

    The texts are read lazily, in windows of ``64 * batch_size``.
    """
    timings = timings or Timings()
    rows = iter(rows)
    while window := list(islice(rows, WINDOW_BATCHES * batch_size)):
        logits = logits_of(window, processor, run, batch_size, timings)
        start = time.perf_counter()
        predictions = processor.decode(logits)
        timings.postprocess += time.perf_counter() - start
        yield from zip(window, predictions)


def classify_and_report(
    rows: Iterable[Row],
    processor: TextProcessor,
    run: Run,
    args: argparse.Namespace,
    line: Callable[[Row, Prediction], str],
    timings: Timings | None = None,
) -> dict[str, Any]:
    """Classify, print each answer, write ``--output_file`` and ``--output_npy``, print accuracy.

    The files are opened before the first text, and appear only after the last one was classified.

    Args:
        rows, processor, run, timings: as in `classify`.
        args: the flags of `convbert.inference.inference_flags.add_text_flags`.
        line: formats the printed line of an answer.

    Returns:
        The number of texts; the share of right answers, None without labels; the answers.
    """
    # Also the fields of --save_results; the service's clients and score_files have their own.
    answers: dict[str, list] = {"label_id": [], "label": [], "prob": []}
    accuracy, right = None, 0
    if args.label_column:
        rows = with_label_ids(rows, processor.label_names, processor.num_classes)
    with ExitStack() as files:
        npy = _open_npy(files, args.output_npy)
        jsonl = files.enter_context(atomic_write(args.output_file)) if args.output_file else None
        for row, prediction in classify(rows, processor, run, args.batch_size, timings):
            values = {name: getattr(prediction, name) for name in answers}
            for name, value in values.items():
                answers[name].append(value)
            right += prediction.label_id == row.label_id
            with naming("standard output"):  # not the output files, which are open too
                print(line(row, prediction))
            if jsonl:
                jsonl.write(json_text({"text": row.text, **values}, ensure_ascii=False) + "\n")
        if npy:  # in the form of reprod_log
            label_ids = np.array(answers["label_id"], dtype=np.int64)
            np.save(npy, {"label_id": label_ids, "prob": np.array(answers["prob"], np.float64)})
    total = len(answers["prob"])
    if args.label_column:
        accuracy = right / total
        print(f"accuracy: {accuracy:.4f} ({right} of {total})")
    return {"texts": total, "accuracy": accuracy, **answers}


def _open_npy(files: ExitStack, path: str) -> IO[bytes] | None:
    """Open ``--output_npy``; None if the user did not set it and it cannot be written."""
    try:
        return files.enter_context(atomic_write(path, "wb"))
    except UserError as error:
        if not isinstance(path, DefaultPath):
            raise
        get_logger().warning("%s; %s is not written", error, path)
        return None
