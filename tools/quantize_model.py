r"""Quantize an exported model to int8 (post-training) for OpenVINO.

Example:
    python tools/quantize_model.py --model_dir convbert_infer --calib_file train.tsv \
        --calib_column sentence --dev_file dev.tsv

The accuracy on labelled sentences is measured before and after. If int8 loses more than --max_drop,
nothing is written. The model must be exported by Paddle 2.6.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import THREADS, float_in, int_at_least, make_parser
from convbert.command.start import run_main
from convbert.inference.exported import open_processor
from convbert.text.reading import read_rows, with_label_ids
from paddlenlp.utils.files import output_json


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--engine", choices=("openvino",), default="openvino", help="engine")
    add("--model_dir", required=True, help="exported directory")
    help = "directory to write, replaced as a whole"
    add("--save_inference_dir", default="./convbert_infer_int8", help=help)
    add("--calib_file", required=True, help="sentences similar to your input, one per line")
    help = "--calib_file is a table: column of the text (or pair)"
    add("--calib_column", metavar="NAME[,NAME]", help=help)
    help = "number of sentences, from the start of the file"
    add("--calib_size", type=int_at_least(1), default=256, help=help)
    add("--save_results", metavar="FILE", help="write settings and results as JSON")
    help = "table of labelled sentences that are not in --calib_file"
    add("--dev_file", required=True, help=help)
    add("--dev_column", metavar="NAME[,NAME]", default="sentence", help="column of the text")
    add("--label_column", metavar="NAME", default="label", help="column of the true label")
    help = "largest allowed loss of accuracy, in points"
    add("--max_drop", type=float_in(0, 100), default=0.5, help=help)
    add("--cpu_threads", type=THREADS, help="threads of the engine (default: all cores)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Quantize, check, print."""
    args = parse_args(argv)
    columns = args.calib_column.split(",") if args.calib_column else []
    rows = read_rows(args.calib_file, columns)
    texts = list(islice(rows, args.calib_size))
    with output_json(args.save_results) as results:
        from convbert.inference.quantize import quantize_export

        processor = open_processor(args.model_dir)
        columns = args.dev_column.split(",")
        rows = read_rows(args.dev_file, columns, args.label_column)
        dev = list(with_label_ids(rows, processor.label_names, processor.num_classes))
        results |= quantize_export(
            args.model_dir,
            args.save_inference_dir,
            texts,
            dev,
            max_drop=args.max_drop,
            threads=args.cpu_threads,
        )
        smooth = "with" if results["smooth_quant"] else "without"
        print(f"calibrated with {results['texts']} sentences, {smooth} SmoothQuant")
        for name in ("float", "int8"):
            found = results[name]
            accuracy, megabytes = found["accuracy"], found["weight_bytes"] / 1e6
            ms = ", ".join(f"{value:.2f} ms for {size}" for size, value in found["ms"].items())
            print(f"{name:<5} accuracy {accuracy:.4f}, weights {megabytes:.1f} MB, median {ms}")
        print(f"same label: {results['agreement']:.2%} of {results['dev_texts']} dev sentences")
    print(f"int8 model and tokenizer have been saved into {args.save_inference_dir}")


if __name__ == "__main__":
    run_main(main)
