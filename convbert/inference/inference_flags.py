"""The flags that the inference commands share: texts, outputs and engine."""

import argparse
from collections.abc import Iterator
from dataclasses import fields

from convbert.command.flags import DEFAULT_SENTENCE, THREADS, add_bool_flag, int_at_least
from convbert.inference.engines import ENGINES, PRECISIONS, EngineOptions
from convbert.text.reading import Row, read_rows
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.text import argument_text


class DefaultPath(str):
    """A default output path: if it cannot be written, there is a warning instead of an error."""


def add_text_flags(parser: argparse.ArgumentParser, npy: str) -> None:
    """Add the flags that say which texts to classify and where to write the answers."""
    add = parser.add_argument
    add("--text", help=f"sentence to classify (default: {DEFAULT_SENTENCE!r})")
    add("--text_pair", help="second sentence, for a model of sentence pairs")
    add("--input_file", help="file with one text per line; '-' is standard input")
    help = (
        "--input_file is a table (.csv, .jsonl, .parquet, otherwise tab-separated with a header); "
    )
    help += "column of the texts, or two columns of pairs"
    add("--input_column", metavar="NAME[,NAME]", help=help)
    help = "column of the true labels, ids or names; the accuracy is printed"
    add("--label_column", metavar="NAME", help=help)
    add("--output_file", help="write the answers as JSON lines: text, label_id, label, prob")
    help = "reprod_log file of label_id and prob"
    add("--output_npy", default=DefaultPath(npy), help=help)
    add_batch_flags(parser, batch_size=1)


def add_batch_flags(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add --batch_size with this default, and --max_seq_len."""
    help = "texts run together"
    parser.add_argument("--batch_size", type=int_at_least(1), default=batch_size, help=help)
    add_length_flag(parser)


def add_length_flag(parser: argparse.ArgumentParser) -> None:
    """Add --max_seq_len."""
    help = "tokens of a text; longer texts are truncated (default: 128 or the model's limit)"
    parser.add_argument("--max_seq_len", type=int_at_least(3), help=help)


def check_text_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for flags that cannot be used together."""
    message = None
    if args.input_file and (args.text is not None or args.text_pair is not None):
        message = "give either --input_file or --text, not both"
    elif (args.input_column or args.label_column) and not args.input_file:
        message = "--input_column and --label_column need --input_file"
    elif args.label_column and not args.input_column:
        message = "--label_column needs --input_column, the column of the texts"
    elif args.input_column and args.input_column.count(",") > 1:
        message = "--input_column: give one column, or two for a pair"
    if message:
        raise UserError("command-line", message)


def read_texts(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the texts that the flags name, lazily.

    Raises:
        UserError: see `convbert.text.reading.read_rows`.
    """
    if args.input_file:
        columns = args.input_column.split(",") if args.input_column else ()
        yield from read_rows(args.input_file, columns, args.label_column)
        return
    text = argument_text(DEFAULT_SENTENCE if args.text is None else args.text)
    if args.text_pair is None:
        yield Row(text, where="--text")
    else:
        yield Row((text, argument_text(args.text_pair)), where="--text or --text_pair")


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose an engine and how it runs."""
    add = parser.add_argument
    add("--engine", choices=ENGINES, default="paddle", help="engine that runs the model")
    help = "file written by paddle2onnx, for engine onnxruntime"
    add("--onnx_file", metavar="FILE", help=help)
    add_bool_flag(parser, "--use_gpu", False, "run on a GPU; engine paddle only")
    add("--gpu_id", type=int_at_least(0), default=0, help="number of the GPU")
    add_bool_flag(parser, "--use_mkldnn", True, "use oneDNN on the CPU; paddle only")
    add("--cpu_threads", type=THREADS, help="threads on the CPU (default: all cores)")
    add("--precision", choices=PRECISIONS, default="fp32", help="number format")


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """Return the options given by the flags of `add_engine_flags`.

    Raises:
        UserError: the engine does not support the device or the precision.
    """
    names = {option.name for option in fields(EngineOptions)}
    return EngineOptions(**{name: value for name, value in vars(args).items() if name in names})
