"""Score a table of any size with an exported model: CSV, TSV, JSON lines or Parquet, in and out.

The output has the rows and columns of the input, in the same order, and new columns with the
answers. To continue a killed job, run the same command again.

Example:
    python tools/score.py --model_dir convbert_infer --input_file reviews.tsv \\
        --text_column sentence --output_file scored.tsv
"""

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
from convbert.inference import score
from convbert.inference.default_model import default_export
from convbert.inference.inference_flags import add_batch_flags, add_engine_flags, engine_options
from convbert.inference.score_files import open_score_file
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import sha256


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="engine")
    add = parser.add_argument
    add("--model_dir", help="exported directory (default: the bundled model, exported once)")
    add("--input_file", required=True, help="table: .csv, .tsv, .jsonl or .parquet")
    add("--text_column", default="sentence", help="column of the texts")
    add("--text_pair_column", help="column of the second texts, for a model of sentence pairs")
    add("--output_file", required=True, help="table to write, in the format of the input")
    add("--prefix", default="predicted_", help="prefix of the new column names")
    add_bool_flag(parser, "--overwrite", False, "replace the output file")
    help = "rows kept in memory; a killed job loses at most this many"
    add("--rows_per_part", type=int_at_least(1), default=4096, help=help)
    add_batch_flags(parser, batch_size=32)
    help = "use several engines, on the cluster at RAY_ADDRESS or on this machine"
    add("--engine_cluster", choices=("ray",), help=help)
    add("--ray_workers", type=int_at_least(1), help="number of engines (default: one per core)")
    add_engine_flags(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Score, and print rows, time and memory."""
    args = parse_args(argv)
    options = engine_options(args)
    score.check_output(args.output_file, args.input_file, args.overwrite)
    columns = [args.text_column]
    if args.text_pair_column:
        columns.append(args.text_pair_column)
    file = open_score_file(args.input_file, columns, args.prefix)
    model_dir = args.model_dir or default_export()
    settings = score.ScorerSettings(model_dir, options, args.max_seq_len, args.batch_size)
    with score.parts_of(args.output_file, part_settings(args, columns, settings)) as folder:
        if args.engine_cluster:
            answer = answer_on_ray(args, columns, settings, folder)
        else:
            if options.uses_paddle:
                start_paddle(options.cpu_threads or default_threads())
            answer = score.Scorer(settings).answer
        done = score.score(file, answer, folder, args.output_file, args.rows_per_part)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speed = done.answered / done.seconds
    print(f"rows: {done.answered + done.earlier}, from an earlier call: {done.earlier}")
    print(f"seconds: {done.seconds:.1f}, rows/s: {speed:.1f}, peak memory: {peak:.1f} MB")


def part_settings(args: argparse.Namespace, columns: list[str], settings) -> dict:
    """The settings, and the checksums of the files, that determine the content of a part."""
    names = ("engine", "precision", "prefix", "rows_per_part", "max_seq_len")
    folder, onnx_file = Path(settings.model_dir), settings.options.onnx_file
    files = [Path(onnx_file)] if onnx_file else []
    files += sorted(folder.iterdir()) if folder.is_dir() else []
    model = {path.name: sha256(path) for path in files if path.is_file()}
    return {**{name: getattr(args, name) for name in names}, "columns": columns, "model": model}


def answer_on_ray(
    args: argparse.Namespace, columns: list[str], settings, folder: Path
) -> score.Answer:
    """The engines of a cluster."""
    try:
        from convbert.inference import ray_cluster
    except ImportError:
        raise UserError(
            "package-missing", "Ray is not installed: pip install -r requirements-ray.txt"
        ) from None
    done = frozenset(path.name for path in folder.iterdir())
    path = os.path.abspath(args.input_file)
    source = ray_cluster.Source(path, columns, args.prefix, args.rows_per_part, done)
    options = replace(settings.options, cpu_threads=settings.options.cpu_threads or 1)
    model_dir = os.path.abspath(settings.model_dir)
    settings = replace(settings, model_dir=model_dir, options=options)
    ray_cluster.connect()
    workers = args.ray_workers or default_threads()
    return partial(ray_cluster.answer_on_ray, source, settings, workers)


if __name__ == "__main__":
    run_main(main)
