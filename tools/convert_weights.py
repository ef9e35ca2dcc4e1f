"""Convert a checkpoint between transformers' layout and ours, in either direction.

    python tools/convert_weights.py --input_dir conv-bert-base --output_dir convbert-base-paddle
    python tools/convert_weights.py --input_dir best.pdparams --output_dir hf --to hf

It reads transformers' config.json and model.safetensors (or pytorch_model.bin, which needs torch),
or our or upstream's model_config.json and model_state.pdparams. A missing or superfluous tensor is
an error.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--input_dir", required=True, help="checkpoint to read")
    parser.add_argument("--output_dir", required=True, help="directory to write or replace")
    parser.add_argument(
        "--to", choices=("paddle", "hf"), default="paddle", help="layout to write (%(default)s)"
    )
    parser.add_argument("--architecture", help="our model class, if the input does not name it")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Convert and print what was written."""
    args = parse_args(argv)
    start_paddle()
    import paddle

    paddle.set_device("cpu")
    from paddlenlp.transformers.convbert.conversion import convert

    architecture = convert(args.input_dir, args.output_dir, args.to, args.architecture)
    print(f"{architecture} has been saved into {args.output_dir} ({args.to} layout)")


if __name__ == "__main__":
    run_main(main)
