"""Classify sentences with an exported program under Paddle Inference, one printed line each."""

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
from convbert.inference.classify import (
    PAD_MULTIPLE,
    Report,
    Timings,
    add_text_flags,
    answer_line,
    check_text_flags,
    classify,
    read_rows,
    report_answers,
)
from convbert.inference.engines.paddle_inference import PRECISIONS, EngineOptions, Predictor
from convbert.text.processing import TextProcessor
from paddlenlp.utils.files import write_json

WARMUP_SHAPE = (4, 32)


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", required=True, help="exported directory (convbert_infer)")
    add_text_flags(parser, npy="output_inference_engine.npy")
    add_bool_flag(parser, "--use_gpu", False, "run on a GPU (%(default)s)")
    add("--gpu_id", type=int_at_least(0), default=0, help="which GPU (%(default)s)")
    add_bool_flag(parser, "--use_mkldnn", True, "use oneDNN on the CPU (%(default)s)")
    add("--cpu_threads", type=int_at_least(1), help="threads of the CPU kernels (all cores)")
    add("--precision", choices=PRECISIONS, default="fp32", help="number format (%(default)s)")
    add_bool_flag(parser, "--benchmark", False, "print the time of each stage (%(default)s)")
    add("--warmup", type=int_at_least(0), default=0, help="runs before the first (%(default)s)")
    add("--save_results", metavar="FILE", help="write accuracy, timings and device as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Infer and print."""
    args = parse_args(argv)
    check_text_flags(args)
    threads = args.cpu_threads or default_threads()
    start_paddle(threads)
    options = EngineOptions(
        args.use_gpu, args.gpu_id, args.use_mkldnn, args.cpu_threads, args.precision
    )
    predictor = Predictor(args.model_dir, options)
    processor = TextProcessor.from_dir(
        args.model_dir, max_seq_len=args.max_seq_len, pad_multiple=PAD_MULTIPLE
    )
    warm_up(predictor, args.warmup)
    timings = Timings()
    start = time.perf_counter()
    answers = classify(read_rows(args), processor, predictor.run, args.batch_size, timings)
    report = report_answers(answers, args, answer_line)
    summary = summarize(args, predictor, threads, report, timings, time.perf_counter() - start)
    if args.benchmark:
        print_benchmark(summary)
    if args.save_results:
        write_json(args.save_results, summary)


def warm_up(predictor: Predictor, runs: int) -> None:
    """Run random ids so that the first timed batch finds its kernels ready."""
    ids = np.random.RandomState(0).randint(1, 200, WARMUP_SHAPE)
    for _ in range(runs):
        predictor.run(ids, np.zeros_like(ids))


def summarize(
    args, predictor: Predictor, threads: int, report: Report, timings: Timings, seconds: float
) -> dict:
    """Collect what ``--benchmark`` prints and ``--save_results`` writes; seconds and ms."""
    milliseconds = np.array(timings.batches) * 1000
    return {
        "device": predictor.device,
        "use_mkldnn": predictor.use_mkldnn,
        "cpu_threads": threads,
        "precision": args.precision,
        "batch_size": args.batch_size,
        "texts": len(report.label_ids),
        "accuracy": report.accuracy,
        "label_id": report.label_ids,
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
        f"benchmark: device {summary['device']}, oneDNN {summary['use_mkldnn']}, "
        f"threads {summary['cpu_threads']}, precision {summary['precision']}, "
        f"batch_size {summary['batch_size']}, texts {summary['texts']}"
    )
    print(f"benchmark: {stages}, {summary['texts_per_second']:.1f} texts/s")
    latency = summary["batch_ms"]
    print(f"benchmark: one batch, median {latency['median']:.2f} ms, p99 {latency['p99']:.2f} ms")


if __name__ == "__main__":
    run_main(main)
