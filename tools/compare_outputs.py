"""Compare two reprod_log files; exit with status 1 if they differ by more than the threshold.

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
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.pickled_arrays import load_npy_dict


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("first", nargs="?", default="output_predict_engine.npy", help="(%(default)s)")
    add("second", nargs="?", default="output_inference_engine.npy", help="(%(default)s)")
    add("--threshold", type=float_in(0, 1), default=1e-5, help="largest difference (%(default)s)")
    return parser.parse_args(argv)


def load(path: str) -> dict[str, np.ndarray]:
    """Read a reprod_log file without running code from its pickle.

    Raises:
        UserError: it is missing or has another format.
    """
    if not os.path.isfile(path):
        raise UserError(
            "file-missing", f"{path} does not exist: run tools/predict.py or infer.py first"
        )
    try:
        content = load_npy_dict(path)
    except OSError as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(
            "file-damaged", f"{path} is not a reprod_log file ({error}): write it again"
        ) from None
    numbers = (isinstance(v, np.ndarray) and v.dtype.kind in "iuf" for v in content.values())
    if not content or not all(numbers):
        raise UserError(
            "file-damaged", f"{path} does not contain arrays of numbers: write it again"
        )
    return content


def main(argv=None) -> int:
    """Compare and print one line per key; return 1 if any key differs."""
    args = parse_args(argv)
    first, second = load(args.first), load(args.second)
    if set(first) != set(second):
        raise UserError("outputs-differ", f"the keys differ: {sorted(first)} and {sorted(second)}")
    for key in first:
        if first[key].shape != second[key].shape:
            raise UserError(
                "outputs-differ",
                f"{key}: shape {first[key].shape} in one file, {second[key].shape} in the other",
            )
    failed = False
    for key, left in sorted(first.items()):
        exact = np.issubdtype(left.dtype, np.integer)
        difference = float(np.abs(np.subtract(left, second[key], dtype=np.float64)).max(initial=0))
        good = difference <= (0 if exact else args.threshold)
        failed |= not good
        print(f"{key}: {left.size} values, max difference {difference:.1e}", end="")
        print(", passed" if good else f", FAILED (threshold {0 if exact else args.threshold})")
    return int(failed)


if __name__ == "__main__":
    run_main(main)
