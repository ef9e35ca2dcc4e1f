"""Compare two reprod_log files; exit with status 1 if they differ by more than the threshold.

Example:
    python tools/compare_outputs.py output_predict_engine.npy output_inference_engine.npy
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import float_in, make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.pickled_arrays import load_npy_dict


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
        arrays = list(content.values())
        if not arrays or not all(
            isinstance(array, np.ndarray) and array.dtype.kind in "iuf" for array in arrays
        ):
            raise ValueError("it does not contain arrays of numbers")
    except ValueError as error:
        raise UserError(
            "file-damaged", f"{path} is not a reprod_log file ({error}): write it again"
        ) from None
    return content


def main(argv=None) -> int:
    """Compare and print one line per key; return 1 if any key differs."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("first", nargs="?", default="output_predict_engine.npy", help="first file")
    add("second", nargs="?", default="output_inference_engine.npy", help="second file")
    add("--threshold", type=float_in(0, 1), default=1e-5, help="largest allowed difference")
    args = parser.parse_args(argv)
    first, second = load(args.first), load(args.second)
    shapes = [{key: array.shape for key, array in file.items()} for file in (first, second)]
    if shapes[0] != shapes[1]:
        raise UserError("outputs-differ", f"the shapes differ: {shapes[0]} and {shapes[1]}")
    failed = False
    for key, left in sorted(first.items()):
        threshold = 0 if np.issubdtype(left.dtype, np.integer) else args.threshold
        difference = float(np.abs(np.subtract(left, second[key], dtype=np.float64)).max(initial=0))
        good = difference <= threshold
        failed |= not good
        verdict = "passed" if good else f"FAILED (threshold {threshold})"
        print(f"{key}: {left.size} values, max difference {difference:.1e}, {verdict}")
    return int(failed)


if __name__ == "__main__":
    run_main(main)
