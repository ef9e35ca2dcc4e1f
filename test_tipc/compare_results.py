"""Judge what a program wrote: device, labels, probabilities, accuracy. Exit status 1 if wrong.

Reads the JSON files that train.py (metrics.json), infer.py (--save_results) and predict.py
(--output_file) write, never their logs. The runner calls it after each step.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc import verdict
from tipc.records import sha256


def build_parser() -> argparse.ArgumentParser:
    """Make the parser: one command per kind of product."""
    parser = make_parser(__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="judge metrics.json of train.py")
    train.add_argument("--metrics", required=True)
    train.add_argument("--device", required=True, choices=("cpu", "gpu"))
    train.add_argument("--processes", type=int_at_least(1), default=1)
    train.add_argument("--steps", type=int_at_least(1))
    infer = commands.add_parser("infer", help="judge the results of an engine")
    infer.add_argument("--results", required=True, help="what --save_results wrote")
    infer.add_argument("--expect", action="append", default=[], metavar="NAME=VALUE")
    infer.add_argument("--reference", help="answers it must agree with (.jsonl or results)")
    infer.add_argument("--baseline", help="results of the float model, for a quantized one")
    infer.add_argument("--rounded", help="results without integer kernels, for one with them")
    infer.add_argument("--gt_file", help="recorded expectation")
    answers = commands.add_parser("answers", help="judge answers that come without a report")
    answers.add_argument("--answers", required=True)
    answers.add_argument("--reference", required=True)
    answers.add_argument("--precision", choices=list(verdict.TOLERANCES), default="fp32")
    record = commands.add_parser("record", help="write a recorded expectation")
    record.add_argument("--results", required=True)
    record.add_argument("--input_file", required=True, help="the texts they belong to")
    record.add_argument("--gt_file", required=True, help="file to write")
    record.add_argument("--accuracy_atol", type=float, default=0.0)
    record.add_argument("--accuracy_only", action="store_true", help="leave out the answers")
    return parser


def judge_training(args: argparse.Namespace) -> list[str]:
    """Return what is wrong with a training."""
    metrics = verdict.read_json(args.metrics)
    return verdict.check_training(metrics, args.device, args.processes, args.steps)


def judge_inference(args: argparse.Namespace) -> list[str]:
    """Return what is wrong with the results of an engine."""
    results = verdict.read_json(args.results)
    answers = verdict.read_answers(args.results)
    expected = dict(pair.split("=", 1) for pair in args.expect)
    precision = results.get("precision", "fp32")
    if precision not in verdict.TOLERANCES:
        raise UserError("tipc", f"{args.results}: unknown precision {precision}")
    wrong = verdict.check_expected(results, expected)
    if args.reference:
        reference = verdict.read_answers(args.reference)
        wrong += verdict.check_answers(answers, reference, precision, args.reference)
    if args.baseline:
        baseline = verdict.read_answers(args.baseline)
        wrong += verdict.check_quantized(answers, baseline, args.baseline)
        wrong += verdict.check_drop(results, verdict.read_json(args.baseline))
        print(
            f"compare_results: {verdict.describe_drop(results, verdict.read_json(args.baseline))}"
        )
    if args.rounded:
        wrong += verdict.check_integer(answers, verdict.read_answers(args.rounded), args.rounded)
    if args.gt_file:
        wrong += verdict.check_record(results, verdict.read_record(args.gt_file), args.gt_file)
    return wrong


def judge_answers(args: argparse.Namespace) -> list[str]:
    """Return how answers differ from a reference."""
    answers, reference = verdict.read_answers(args.answers), verdict.read_answers(args.reference)
    return verdict.check_answers(answers, reference, args.precision, args.reference)


def write_record(args: argparse.Namespace) -> None:
    """Write results as an expectation of later runs."""
    results = verdict.read_json(args.results)
    record = {
        "input_sha256": sha256(Path(args.input_file)),
        "accuracy": results["accuracy"],
        "accuracy_atol": args.accuracy_atol,
    }
    if not args.accuracy_only:
        record["label_id"] = results["label_id"]
        record["prob"] = [round(prob, 7) for prob in results["prob"]]
    with atomic_write(args.gt_file) as file:
        json.dump(record, file)
        file.write("\n")


def main(argv=None) -> int:
    """Judge and print; 1 if anything is wrong."""
    args = build_parser().parse_args(argv)
    if args.command == "record":
        write_record(args)
        return 0
    wrong = JUDGES[args.command](args)
    for line in wrong:
        print(f"compare_results: {line}")
    if not wrong:
        print("compare_results: good")
    return int(bool(wrong))


JUDGES: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "train": judge_training,
    "infer": judge_inference,
    "answers": judge_answers,
}

if __name__ == "__main__":
    run_main(main)
