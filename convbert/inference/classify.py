"""Classifying many texts: where they come from, running them in batches, where answers go.

Shared by the dygraph and the Paddle Inference command; only ``run`` differs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from convbert.command.flags import DEFAULT_SENTENCE, int_at_least
from convbert.text.processing import Prediction, Text, TextProcessor, length_sorted_batches
from convbert.text.reading import read_lines, require_words
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.log import get_logger

# Batches whose texts are sorted by length together; bounds memory on endless input.
WINDOW_BATCHES = 64
# Padded lengths are multiples of this, so that oneDNN meets few distinct shapes.
PAD_MULTIPLE = 8


@dataclass
class Timings:
    """Seconds spent in each stage, over all batches."""

    preprocess: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    batches: list[float] = field(default_factory=list)  # inference seconds of each batch


@dataclass(frozen=True)
class Row:
    """One text to classify, and its true label where the input has a column of them."""

    text: Text
    gold: str | None = None


def add_text_flags(parser: argparse.ArgumentParser, npy: str) -> None:
    """Add the flags that say which texts to classify and where to write the answers."""
    add = parser.add_argument
    add("--text", help=f"sentence to classify (default: {DEFAULT_SENTENCE!r})")
    add("--text_pair", help="second sentence, for a model of sentence pairs")
    add("--input_file", help="file with one text a line, '-' for standard input")
    add(
        "--input_column",
        metavar="NAME[,NAME]",
        help="read --input_file as tab-separated with a header, texts in this column (or pair)",
    )
    add("--label_column", metavar="NAME", help="column of true label ids: also print the accuracy")
    add("--output_file", help="write the answers as JSON lines: text, label_id, label, prob")
    add("--output_npy", default=npy, help="reprod_log file of label_id and prob (%(default)s)")
    add("--batch_size", type=int_at_least(1), default=1, help="texts run together (%(default)s)")
    add(
        "--max_seq_len",
        type=int_at_least(3),
        help="longest sequence in tokens; longer texts are cut (128, or less if the model is)",
    )


def check_text_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for flags that contradict each other."""
    if args.input_file and (args.text is not None or args.text_pair is not None):
        raise UserError(
            "command-line", "--input_file and --text exclude each other: give one of them"
        )
    if (args.input_column or args.label_column) and not args.input_file:
        raise UserError("command-line", "--input_column and --label_column need --input_file")
    if args.label_column and not args.input_column:
        raise UserError(
            "command-line", "--label_column needs --input_column, the column of the texts"
        )


def read_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the texts the flags name, lazily.

    Raises:
        UserError: file missing, not UTF-8 (with the line), an empty text, or a missing column.
    """
    if not args.input_file:
        text = DEFAULT_SENTENCE if args.text is None else args.text
        require_words("--text", text)
        if args.text_pair is not None:
            require_words("--text_pair", args.text_pair)
        yield Row(text if args.text_pair is None else (text, args.text_pair))
        return
    lines = read_lines(args.input_file)
    if args.input_column:
        yield from _read_columns(lines, args)
        return
    for where, line in lines:
        require_words(where, line)
        yield Row(line)


def _read_columns(lines: Iterator[tuple[str, str]], args: argparse.Namespace) -> Iterator[Row]:
    where, header = next(lines)
    columns = header.split("\t")
    wanted = args.input_column.split(",") + ([args.label_column] if args.label_column else [])
    for name in wanted:
        if name not in columns:
            raise UserError(
                "column", f"{where}: no column '{name}' (there are {', '.join(columns)})"
            )
    places = [columns.index(name) for name in wanted]
    texts = len(args.input_column.split(","))
    for where, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise UserError("row", f"{where} has {len(cells)} columns instead of {len(columns)}")
        values = [cells[place] for place in places]
        for value in values[:texts]:
            require_words(where, value)
        gold = values[texts] if args.label_column else None
        yield Row(values[0] if texts == 1 else (values[0], values[1]), gold)


def classify(
    rows: Iterable[Row],
    processor: TextProcessor,
    run: Callable[[np.ndarray, np.ndarray], np.ndarray],
    batch_size: int = 1,
    timings: Timings | None = None,
) -> Iterator[tuple[Row, Prediction]]:
    """Classify texts in their order, batching those of similar length.

    Args:
        rows: texts, read lazily in windows of ``64 * batch_size``.
        processor: encodes texts and decodes logits.
        run: two [B, L] int64 arrays to logits [B, C].
        batch_size: most texts in one run.
        timings: filled with the seconds of each stage where given.
    """
    timings = timings or Timings()
    rows, warned = iter(rows), False
    while True:
        window = list(islice(rows, WINDOW_BATCHES * batch_size))
        if not window:
            return
        start = time.perf_counter()
        features = processor.encode([row.text for row in window])
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
    """What is kept of a run: the answers, and how many matched the true labels."""

    label_ids: list[int] = field(default_factory=list)
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
        self.probs.append(prediction.prob)
        if row.gold is not None:
            self.judged += 1
            self.correct += row.gold in (str(prediction.label_id), prediction.label)

    def save_npy(self, path: str) -> None:
        """Write label_id [n] int64 and prob [n] float64 as a reprod_log file."""
        from reprod_log import ReprodLogger

        log = ReprodLogger()
        log.add("label_id", np.array(self.label_ids, dtype=np.int64))
        log.add("prob", np.array(self.probs, dtype=np.float64))
        with atomic_write(path, "wb") as file:
            np.save(file, log.data)


def report_answers(
    answers: Iterable[tuple[Row, Prediction]],
    args: argparse.Namespace,
    line: Callable[[Row, Prediction], str],
) -> Report:
    """Print each answer, write ``--output_file`` and ``--output_npy``, print the accuracy.

    The two files appear whole, and only when every text was answered.
    """
    report = Report()
    if args.output_file:
        with atomic_write(args.output_file) as file:
            for row, prediction in answers:
                report.add(row, prediction)
                print(line(row, prediction))
                file.write(json.dumps(_as_json(row, prediction), ensure_ascii=False) + "\n")
    else:
        for row, prediction in answers:
            report.add(row, prediction)
            print(line(row, prediction))
    report.save_npy(args.output_npy)
    if report.accuracy is not None:
        print(f"accuracy: {report.accuracy:.4f} ({report.correct} of {report.judged})")
    return report


def answer_line(row: Row, prediction: Prediction) -> str:
    """What the inference commands print for a text."""
    return f"text: {row.text}, label_id: {prediction.label_id}, prob: {prediction.prob}"


def _as_json(row: Row, prediction: Prediction) -> dict:
    text = row.text if isinstance(row.text, str) else list(row.text)
    return {
        "text": text,
        "label_id": prediction.label_id,
        "label": prediction.label,
        "prob": prediction.prob,
    }
