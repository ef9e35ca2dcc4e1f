"""Classify sentences with a converted model (paddle2onnx) under ONNX Runtime, one line each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from convbert.inference.classify import (
    PAD_MULTIPLE,
    Timings,
    add_text_flags,
    answer_line,
    check_text_flags,
    classify,
    read_rows,
    report_answers,
)
from convbert.inference.engines.onnx_runtime import OnnxSession
from convbert.text.processing import TextProcessor
from paddlenlp.utils.files import write_json


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--onnx_file", required=True, help="converted model (model.onnx)")
    add("--model_dir", required=True, help="exported directory it was made from, for the tokenizer")
    add_text_flags(parser, npy="output_onnx_engine.npy")
    add("--cpu_threads", type=int_at_least(1), help="threads of the operators (all cores)")
    add("--save_results", metavar="FILE", help="write answers, accuracy and time as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Infer and print."""
    args = parse_args(argv)
    check_text_flags(args)
    session = OnnxSession(args.onnx_file, args.cpu_threads)
    processor = TextProcessor.from_dir(
        args.model_dir, max_seq_len=args.max_seq_len, pad_multiple=PAD_MULTIPLE
    )
    timings = Timings()
    answers = classify(read_rows(args), processor, session.run, args.batch_size, timings)
    report = report_answers(answers, args, answer_line)
    if args.save_results:
        results = {
            "device": session.device,
            "precision": "fp32",
            "batch_size": args.batch_size,
            "texts": len(report.label_ids),
            "accuracy": report.accuracy,
            "label_id": report.label_ids,
            "prob": report.probs,
            "inference_seconds": timings.inference,
        }
        write_json(args.save_results, results)


if __name__ == "__main__":
    run_main(main)
