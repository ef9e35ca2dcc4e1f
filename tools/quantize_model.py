r"""Quantize an exported model to int8 (post-training) and compare it with the original.

Example:
    python tools/quantize_model.py --model_dir convbert_infer --calib_file train.tsv \
        --calib_column sentence --dev_file dev.tsv

For OpenVINO the accuracy on labelled sentences is measured before and after. If int8 loses more
than --max_drop, nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import float_in, int_at_least, make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference.exported import open_processor
from convbert.text.reading import Row, read_rows, with_label_ids
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import output_json

ALGORITHMS = ("KL", "hist", "mse", "abs_max")


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--engine", choices=("openvino", "paddle"), default="openvino", help="(%(default)s)")
    add("--model_dir", required=True, help="exported directory (convbert_infer)")
    add(
        "--save_inference_dir",
        default="./convbert_infer_int8",
        help="directory to write, replaced as a whole (%(default)s)",
    )
    add("--calib_file", required=True, help="sentences similar to the later input, one per line")
    add(
        "--calib_column",
        metavar="NAME[,NAME]",
        help="the file is tab-separated: column of the text (or pair)",
    )
    add(
        "--calib_size",
        type=int_at_least(1),
        default=256,
        help="number of sentences, from the start of the file (%(default)s)",
    )
    add("--save_results", metavar="FILE", help="write settings and results as JSON")
    group = parser.add_argument_group("engine openvino")
    add = group.add_argument
    add("--dev_file", help="labelled sentences, not those of --calib_file; tab-separated")
    add("--dev_column", metavar="NAME[,NAME]", default="sentence", help="its text (%(default)s)")
    add("--label_column", metavar="NAME", default="label", help="its true label (%(default)s)")
    add(
        "--max_drop",
        type=float_in(0, 100),
        default=0.5,
        help="accuracy that may be lost, in points (%(default)s)",
    )
    add("--cpu_threads", type=int_at_least(1), help="threads of the engine (all cores)")
    group = parser.add_argument_group("engine paddle")
    add = group.add_argument
    add("--algo", choices=ALGORITHMS, default="KL", help="range of activations (%(default)s)")
    add("--batch_size", type=int_at_least(1), default=8, help="sentences per run (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Quantize, check, print."""
    args = parse_args(argv)
    if args.engine == "openvino" and not args.dev_file:
        raise UserError("command-line", "--engine openvino needs --dev_file, to measure accuracy")
    columns = args.calib_column.split(",") if args.calib_column else []
    rows = read_rows(args.calib_file, columns, flag="--calib_file")
    texts = list(islice(rows, args.calib_size))
    quantize = quantize_openvino if args.engine == "openvino" else quantize_paddle
    with output_json(args.save_results) as results:
        results.update(quantize(args, texts))
    print(f"int8 model and tokenizer have been saved into {args.save_inference_dir}")


def quantize_openvino(args: argparse.Namespace, texts: list[Row]) -> dict:
    """Quantize with NNCF and print the changes."""
    from convbert.inference.quantize import quantize_export

    processor = open_processor(args.model_dir)
    columns = args.dev_column.split(",")
    rows = read_rows(args.dev_file, columns, args.label_column, flag="--dev_file")
    dev = list(with_label_ids(rows, processor.label_names, processor.num_classes))
    done = quantize_export(
        args.model_dir, args.save_inference_dir, texts, dev, args.max_drop, args.cpu_threads
    )
    smooth = "with" if done["smooth_quant"] else "without"
    print(f"calibrated with {done['texts']} sentences, {smooth} SmoothQuant")
    for name in ("float", "int8"):
        measured = done[name]
        ms = ", ".join(f"{value:.2f} ms for {size}" for size, value in measured["ms"].items())
        size = measured["weight_bytes"] / 1e6
        print(f"{name:<5} accuracy {measured['accuracy']:.4f}, weights {size:.1f} MB, median {ms}")
    print(f"same label: {done['agreement']:.2%} of {done['dev_texts']} dev sentences")
    return done


def quantize_paddle(args: argparse.Namespace, texts: list[Row]) -> dict:
    """Quantize with Paddle and print the changes."""
    start_paddle()
    from convbert.inference.quantize_paddle import quantize_export

    done = quantize_export(
        args.model_dir,
        args.save_inference_dir,
        [row.text for row in texts],
        args.algo,
        args.batch_size,
    )
    size = done["params_bytes"]
    print(
        f"calibrated with {done['texts']} sentences ({done['algo']}), "
        f"{done['quantized_ops']} matrix products quantized"
    )
    print(
        f"same label as before: {done['agreement']:.2%} with int8 kernels, "
        f"{done['agreement_in_float']:.2%} with rounding in float"
    )
    if not done["vnni"]:
        print("this CPU has no VNNI: its int8 kernels saturate and are seldom faster than float")
    print(f"weights: {size['before']} bytes before, {size['after']} after")
    return done


if __name__ == "__main__":
    run_main(main)
