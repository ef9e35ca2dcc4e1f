"""Judge what a program wrote: device, labels, probabilities, accuracy. Exit status 1 if wrong.

The command line of `tipc.judge`, which the runner calls after each step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from tipc import judge


def build_parser() -> argparse.ArgumentParser:
    """Make the parser: one command per kind of product."""
    parser = make_parser(__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def command(name: str, judged_by, help: str):
        added = commands.add_parser(name, help=help)
        added.set_defaults(judge=judged_by)
        return added.add_argument

    add = command("train", judge.training, "judge metrics.json of train.py")
    add("--metrics", type=Path, required=True)
    add("--device", required=True, choices=("cpu", "gpu"))
    add("--processes", type=int_at_least(1), default=1)
    add("--steps", type=int_at_least(1))
    add = command("infer", judge.engine, "judge the results of an engine")
    add("--results", type=Path, required=True, help="what --save_results wrote")
    add("--expect", action="append", default=[], metavar="NAME=VALUE")
    add("--reference", type=Path, help="answers it must agree with (.jsonl or results)")
    add("--baseline", type=Path, help="results of the float model, for a quantized one")
    add("--rounded", type=Path, help="results without integer kernels, for one with them")
    add("--gt_file", type=Path, help="recorded expectation")
    add = command("answers", judge.answers, "judge answers that come without a report")
    add("--answers", type=Path, required=True)
    add("--reference", type=Path, required=True)
    add("--precision", choices=list(judge.TOLERANCES), default="fp32")
    add = command("record", judge.record, "write a recorded expectation")
    add("--results", type=Path, required=True)
    add("--input_file", type=Path, required=True, help="the texts that the results belong to")
    add("--gt_file", type=Path, required=True, help="file to write")
    add("--accuracy_atol", type=float, default=0.0)
    add("--accuracy_only", action="store_true", help="leave out the answers")
    return parser


def main(argv=None) -> int:
    """Judge and print; 1 if anything is wrong."""
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
