"""Quantize an exported model to int8 (post-training, no labels needed) and check that it runs."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference.quantize import ALGORITHMS
from convbert.text.reading import read_rows
from paddlenlp.utils.files import write_json


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", required=True, help="exported directory (convbert_infer)")
    add(
        "--save_inference_dir",
        default="./convbert_infer_int8",
        help="directory to write, replaced as a whole (%(default)s)",
    )
    add("--calib_file", required=True, help="sentences like those to come, one a line")
    add("--calib_column", metavar="NAME", help="the file is tab-separated: column of the text")
    add(
        "--calib_size",
        type=int_at_least(1),
        default=256,
        help="sentences used, from the first on (%(default)s)",
    )
    add("--algo", choices=ALGORITHMS, default="KL", help="range of activations (%(default)s)")
    add("--batch_size", type=int_at_least(1), default=8, help="sentences per run (%(default)s)")
    add("--save_results", metavar="FILE", help="write what was done as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Quantize, check, print."""
    args = parse_args(argv)
    start_paddle()
    from convbert.inference.quantize import quantize_export

    columns = [args.calib_column] if args.calib_column else []
    rows = read_rows(args.calib_file, columns, flag="--calib_file")
    texts = [row.text for row in islice(rows, args.calib_size)]
    done = quantize_export(
        args.model_dir, args.save_inference_dir, texts, args.algo, args.batch_size
    )
    size = done["params_bytes"]
    print(
        f"calibrated with {done['texts']} sentences ({done['algo']}), "
        f"{done['quantized_ops']} matrix products quantized"
    )
    print(
        f"same label as before: {done['agreement']:.2%} with int8 kernels, "
        f"{done['agreement_in_float']:.2%} with the roundings alone"
    )
    if not done["vnni"]:
        print("this CPU has no VNNI: its int8 kernels saturate and are seldom faster than float")
    print(f"weights: {size['before']} bytes before, {size['after']} after")
    print(f"int8 model and tokenizer have been saved into {args.save_inference_dir}")
    if args.save_results:
        write_json(args.save_results, done)


if __name__ == "__main__":
    run_main(main)
