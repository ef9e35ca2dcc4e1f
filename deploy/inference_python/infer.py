"""Classify sentences with an exported model and print one line for each.

Example:
    python deploy/inference_python/infer.py --model_dir convbert_infer --text "a fine film"
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from convbert.command.flags import add_bool_flag, int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.start import run_main, start_paddle
from convbert.inference.classify import Report, Timings, answer_line, classify_and_report
from convbert.inference.default_model import default_export
from convbert.inference.engines import Engine
from convbert.inference.exported import open_exported
from convbert.inference.inference_flags import (
    add_engine_flags,
    add_text_flags,
    check_text_flags,
    engine_options,
    read_texts,
)
from paddlenlp.utils.files import output_json

WARMUP_SHAPE = (4, 32)


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__, heading="engine")
    add = parser.add_argument
    add("--model_dir", help="exported directory (default: the bundled model, exported once)")
    add_text_flags(parser, npy="output_inference_engine.npy")
    add_engine_flags(parser)
    add_bool_flag(parser, "--benchmark", False, "print the time of each stage (%(default)s)")
    add("--warmup", type=int_at_least(0), default=0, help="runs before the first (%(default)s)")
    add("--save_results", metavar="FILE", help="write accuracy, timings and device as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Infer and print."""
    args = parse_args(argv)
    check_text_flags(args)
    options = engine_options(args)
    threads = options.cpu_threads or default_threads()
    if options.engine == "paddle":
        start_paddle(threads)
    model_dir = args.model_dir or default_export()
    engine, processor = open_exported(model_dir, options, args.max_seq_len)
    warm_up(engine, args.warmup)
    with output_json(args.save_results) as results:
        timings = Timings()
        start = time.perf_counter()
        report = classify_and_report(
            read_texts(args), processor, engine.run, args, answer_line, timings
        )
        summary = summarize(args, engine, threads, report, timings, time.perf_counter() - start)
        results.update(summary)
    if args.benchmark:
        print_benchmark(summary)


def warm_up(engine: Engine, runs: int) -> None:
    """Run random ids, so that the first timed batch does not include the preparation of kernels."""
    ids = np.random.RandomState(0).randint(1, 200, WARMUP_SHAPE)
    for _ in range(runs):
        engine.run(ids, np.zeros_like(ids))


def summarize(
    args, engine: Engine, threads: int, report: Report, timings: Timings, seconds: float
) -> dict:
    """Collect what ``--benchmark`` prints and ``--save_results`` writes; seconds and ms."""
    milliseconds = np.array(timings.batches) * 1000
    return {
        "engine": engine.options.engine,
        "device": engine.device,
        "use_mkldnn": engine.use_mkldnn,
        "cpu_threads": threads,
        "precision": engine.options.precision,
        "batch_size": args.batch_size,
        "texts": len(report.label_ids),
        "accuracy": report.accuracy,
        "label_id": report.label_ids,
        "label": report.labels,
        "prob": report.probs,
        "seconds": {
            "preprocess": timings.preprocess,
            "inference": timings.inference,
            "postprocess": timings.postprocess,
            "total": seconds,
        },
        "batch_ms": {
            "median": float(np.median(milliseconds)),
            "p99": float(np.percentile(milliseconds, 99)),
        },
        "texts_per_second": len(report.label_ids) / seconds,
    }


def print_benchmark(summary: dict) -> None:
    """Print the stages in one block."""
    stages = ", ".join(f"{name} {value:.4f} s" for name, value in summary["seconds"].items())
    print(
        "benchmark: engine {engine}, device {device}, oneDNN {use_mkldnn}, threads {cpu_threads}, "
        "precision {precision}, batch_size {batch_size}, texts {texts}".format_map(summary)
    )
    print(f"benchmark: {stages}, {summary['texts_per_second']:.1f} texts/s")
    latency = summary["batch_ms"]
    print(f"benchmark: one batch, median {latency['median']:.2f} ms, p99 {latency['p99']:.2f} ms")


if __name__ == "__main__":
    run_main(main)
