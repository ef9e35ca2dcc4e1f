"""Classify sentences with an exported model and print one line for each.

Example:
    python deploy/inference_python/infer.py --model_dir convbert_infer --text "a fine film"
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from convbert.command.flags import add_bool_flag, int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.start import run_main, start_paddle
from convbert.inference import inference_flags
from convbert.inference.classify import Timings, classify_and_report
from convbert.inference.default_model import default_export
from convbert.inference.exported import open_exported
from paddlenlp.utils.files import output_json

WARMUP_SHAPE = (4, 32)
BENCHMARK = """\
benchmark: engine {engine}, device {device}, oneDNN {use_mkldnn}, threads {cpu_threads}, \
precision {precision}, batch_size {batch_size}, texts {texts}
benchmark: preprocess {seconds[preprocess]:.4f} s, inference {seconds[inference]:.4f} s, \
postprocess {seconds[postprocess]:.4f} s, total {seconds[total]:.4f} s, \
{texts_per_second:.1f} texts/s
benchmark: one batch, median {batch_ms[median]:.2f} ms, p99 {batch_ms[p99]:.2f} ms"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="engine")
    add = parser.add_argument
    add("--model_dir", help="exported directory (default: the bundled model, exported once)")
    inference_flags.add_text_flags(parser, npy="output_inference_engine.npy")
    inference_flags.add_engine_flags(parser)
    add_bool_flag(parser, "--benchmark", False, "print the time of each stage")
    add("--warmup", type=int_at_least(0), default=0, help="untimed runs before the first text")
    add("--save_results", metavar="FILE", help="write accuracy, timings and device as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Infer and print."""
    args = parse_args(argv)
    inference_flags.check_text_flags(args)
    options = inference_flags.engine_options(args)
    threads = options.cpu_threads or default_threads()
    if options.uses_paddle:
        start_paddle(threads)
    model_dir = args.model_dir or default_export()
    engine, processor = open_exported(model_dir, options, args.max_seq_len)
    # Random ids, so that the first timed batch does not include the preparation of kernels.
    ids = np.random.RandomState(0).randint(1, 200, WARMUP_SHAPE)
    for _ in range(args.warmup):
        engine.run(ids, np.zeros_like(ids))
    with output_json(args.save_results) as results:
        timings, start = Timings(), time.perf_counter()
        answers = classify_and_report(
            inference_flags.read_texts(args),
            processor,
            engine.run,
            args,
            lambda row, prediction: f"text: {row.text}, {prediction}",
            timings,
        )
        seconds = time.perf_counter() - start
        results |= {
            "engine": options.engine,
            "device": engine.device,
            "use_mkldnn": engine.use_mkldnn,
            "cpu_threads": threads,
            "precision": options.precision,
            "batch_size": args.batch_size,
            **answers,
            **speed(timings, seconds, answers["texts"]),
        }
    if args.benchmark:
        print(BENCHMARK.format_map(results))


def speed(timings: Timings, seconds: float, texts: int) -> dict:
    """The time of each stage in seconds and of a batch in ms, and the texts per second."""
    milliseconds = np.array(timings.batches) * 1000
    return {
        "seconds": {
            "preprocess": timings.preprocess,
            "inference": sum(timings.batches),
            "postprocess": timings.postprocess,
            "total": seconds,
        },
        "batch_ms": {
            "median": float(np.median(milliseconds)),
            "p99": float(np.percentile(milliseconds, 99)),
        },
        "texts_per_second": texts / seconds,
    }


if __name__ == "__main__":
    run_main(main)
