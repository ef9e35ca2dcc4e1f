"""Score a table of any size with an exported model: CSV, TSV, JSON lines or Parquet, in and out.

The output has the rows and columns of the input, in the same order, and new columns with the
answers. To continue a killed job, run the same command again.

Example:
    python tools/score.py --model_dir convbert_infer --input_file reviews.tsv \\
        --text_column sentence --output_file scored.tsv
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import add_bool_flag, int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.start import run_main, start_paddle
from convbert.inference.default_model import default_export
from convbert.inference.inference_flags import add_batch_flags, add_engine_flags, engine_options
from convbert.inference.score import (
    Answer,
    Scorer,
    ScorerSettings,
    check_output,
    model_files,
    parts_of,
    score,
)
from convbert.inference.score_files import open_score_file
from paddlenlp.utils.errors import UserError


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__, heading="output")
    add = parser.add_argument
    add("--model_dir", help="exported directory (default: the bundled model, exported once)")
    add("--input_file", required=True, help="table: .csv, .tsv, .jsonl or .parquet")
    add("--text_column", default="sentence", help="column of the texts (%(default)s)")
    add("--text_pair_column", help="column of the second texts, for a model of sentence pairs")
    add("--output_file", required=True, help="table to write, in the format of the input")
    add("--prefix", default="predicted_", help="first part of the new column names (%(default)s)")
    add_bool_flag(parser, "--overwrite", False, "replace the output file (%(default)s)")
    add(
        "--rows_per_part",
        type=int_at_least(1),
        default=4096,
        help="rows kept in memory; a killed job loses at most this many (%(default)s)",
    )
    add_batch_flags(parser, batch_size=32)
    add(
        "--engine_cluster",
        choices=("ray",),
        help="use many engines, on the cluster at RAY_ADDRESS or on this machine",
    )
    add("--ray_workers", type=int_at_least(1), help="engines in the cluster (1 per core here)")
    add_engine_flags(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Score, and print rows, time and memory."""
    args = parse_args(argv)
    options = engine_options(args)
    check_output(args.output_file, [args.input_file], args.overwrite)
    columns = [args.text_column, *([args.text_pair_column] if args.text_pair_column else [])]
    file = open_score_file(args.input_file, columns, args.prefix)
    args.model_dir = args.model_dir or default_export()
    settings = ScorerSettings(args.model_dir, options, args.max_seq_len, args.batch_size)
    with parts_of(args.output_file, part_settings(args, columns)) as folder:
        answer = answer_of(args, columns, settings, folder)
        progress = score(file, answer, folder, args.output_file, args.rows_per_part)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"rows: {progress.rows}, from an earlier call: {progress.earlier}")
    print(
        f"seconds: {progress.seconds:.1f}, rows/s: {progress.rows_per_second:.1f}, "
        f"peak memory: {peak:.1f} MB"
    )


def answer_of(
    args: argparse.Namespace, columns: list[str], settings: ScorerSettings, folder: Path
) -> Answer:
    """One engine in this process, or the engines of a cluster."""
    options = settings.options
    if not args.engine_cluster:
        if options.engine == "paddle":
            start_paddle(options.cpu_threads or default_threads())
        return Scorer(settings).answer
    try:
        from convbert.inference import ray_cluster
    except ImportError:
        raise UserError(
            "package-missing", "Ray is not installed: pip install -r requirements-ray.txt"
        ) from None
    done = frozenset(path.name for path in folder.iterdir())
    path = os.path.abspath(args.input_file)
    source = ray_cluster.Source(path, columns, args.prefix, args.rows_per_part, done)
    settings = replace(
        settings,
        model_dir=os.path.abspath(settings.model_dir),
        options=replace(options, cpu_threads=options.cpu_threads or 1),
    )
    ray_cluster.connect()
    workers = args.ray_workers or default_threads()
    return partial(ray_cluster.answer_on_ray, source, settings, workers)


def part_settings(args: argparse.Namespace, columns: list[str]) -> dict:
    """The settings that determine the content of a part."""
    names = ("engine", "precision", "prefix", "rows_per_part", "max_seq_len")
    files = model_files(args.model_dir, engine_options(args))
    return {**{name: getattr(args, name) for name in names}, "columns": columns, "model": files}


if __name__ == "__main__":
    run_main(main)
