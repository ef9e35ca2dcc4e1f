"""Convert a checkpoint from transformers' layout to the one used here, or back.

    python tools/convert_weights.py --input_dir conv-bert-base --output_dir convbert-base-paddle
    python tools/convert_weights.py --input_dir best.pdparams --output_dir hf --to hf

It reads transformers' config.json and model.safetensors (or pytorch_model.bin, which needs torch),
or model_config.json and model_state.pdparams of this repository or PaddleNLP. A missing or
unexpected tensor is an error.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.machine import use_device
from convbert.command.start import run_main, start_paddle


def main(argv=None) -> None:
    """Convert and print what was written."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--input_dir", required=True, help="checkpoint to read")
    add("--output_dir", required=True, help="directory to write or replace")
    choices = ("paddle", "hf")
    add("--to", choices=choices, default="paddle", help="layout to write")
    add("--architecture", help="model class, if the input does not name it")
    args = parser.parse_args(argv)
    start_paddle()
    use_device("cpu")
    from paddlenlp.transformers.convbert.conversion import convert

    architecture = convert(args.input_dir, args.output_dir, args.to, args.architecture)
    print(f"{architecture} has been saved into {args.output_dir} ({args.to} layout)")


if __name__ == "__main__":
    run_main(main)
