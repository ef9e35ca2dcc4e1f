"""Check the results of an engine by hand, or record them for comparison with later runs.

Example:
    python test_tipc/compare_results.py infer --results results.json --gt_file expected.json

The exit status is 1 if the answers are wrong. The runner checks each step with the same functions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from tipc import judge


def build_parser() -> argparse.ArgumentParser:
    """Make the parser: one command for each task."""
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(required=True)

    infer = commands.add_parser("infer", help="check the results of an engine")
    infer.set_defaults(judge=judge.engine)
    add = infer.add_argument
    add("--results", type=Path, required=True, help="file written by --save_results")
    add("--expect", action="append", default=[], metavar="NAME=VALUE")
    add("--reference", type=Path, help="answers to compare with (.jsonl or results)")
    add("--gt_file", type=Path, help="recorded result")
    record = commands.add_parser("record", help="record a result")
    record.set_defaults(judge=judge.record)
    add = record.add_argument
    add("--results", type=Path, required=True)
    add("--input_file", type=Path, required=True, help="the texts that the results belong to")
    add("--gt_file", type=Path, required=True, help="file to write")
    add("--accuracy_atol", type=float, default=0.0)
    add("--accuracy_only", action="store_true", help="leave out the answers")
    return parser


def main(argv=None) -> int:
    """Check and print; return 1 if anything is wrong."""
    args = vars(build_parser().parse_args(argv))
    judged_by = args.pop("judge")
    if "expect" in args:
        args["expect"] = dict(pair.split("=", 1) for pair in args["expect"])
    wrong = judged_by(**args)
    if wrong is not None:
        for line in wrong or ["good"]:
            print(f"compare_results: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    run_main(main)
