"""Compare two reprod_log files; exit with status 1 when they differ by more than the threshold.

Example:
    python tools/compare_outputs.py output_predict_engine.npy output_inference_engine.npy
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import float_in, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("first", nargs="?", default="output_predict_engine.npy", help="(%(default)s)")
    add("second", nargs="?", default="output_inference_engine.npy", help="(%(default)s)")
    add("--threshold", type=float_in(0, 1), default=1e-5, help="largest difference (%(default)s)")
    return parser.parse_args(argv)


def load(helper, path: str) -> dict:
    """Read a reprod_log file.

    Raises:
        UserError: it is missing or not such a file.
    """
    if not os.path.isfile(path):
        raise UserError(
            "file-missing", f"{path} does not exist: run tools/predict.py or infer.py first"
        )
    try:
        content = helper.load_info(path)
    except Exception:  # numpy raises several types for a file of another kind
        content = None
    if not isinstance(content, dict) or not content:
        raise UserError("file-damaged", f"{path} is not a reprod_log file: write it again")
    return content


def main(argv=None) -> int:
    """Compare and print one line per key; 1 if any differs."""
    args = parse_args(argv)
    set_cpu_environment()  # reprod_log imports Paddle
    from reprod_log import ReprodDiffHelper

    helper = ReprodDiffHelper()
    first, second = load(helper, args.first), load(helper, args.second)
    if set(first) != set(second):
        raise UserError("outputs-differ", f"the keys differ: {sorted(first)} and {sorted(second)}")
    for key in first:
        if first[key].shape != second[key].shape:
            raise UserError(
                "outputs-differ", f"{key}: {first[key].shape} values against {second[key].shape}"
            )
    # ReprodDiffHelper.report only logs a failure; the verdict here is ours.
    failed = False
    for key, left in sorted(first.items()):
        exact = np.issubdtype(left.dtype, np.integer)
        difference = float(np.abs(left - second[key]).max())
        good = difference <= (0 if exact else args.threshold)
        failed |= not good
        print(f"{key}: {left.size} values, max difference {difference:.1e}", end="")
        print(", passed" if good else f", FAILED (threshold {0 if exact else args.threshold})")
    return int(failed)


if __name__ == "__main__":
    run_main(main)
