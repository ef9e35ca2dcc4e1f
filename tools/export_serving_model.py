"""Convert an exported model (convbert_infer) into the folders that Paddle Serving reads.

Example:
    python tools/export_serving_model.py --dirname convbert_infer --serving_server convbert_server

The flags are those of ``python -m paddle_serving_client.convert``, which needs paddle.fluid, a
module that Paddle has removed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference.default_model import default_export
from convbert.serving.served_model import convert


def main(argv=None) -> None:
    """Convert and print the inputs and outputs of the program."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--dirname", help="exported directory (default: the bundled model, exported once)")
    add("--model_filename", help="its program file (default: inference.pdmodel or .json)")
    add("--params_filename", help="its parameter file (default: inference.pdiparams)")
    add("--serving_server", default="serving_server", help="folder for the server")
    add("--serving_client", default="serving_client", help="folder for clients")
    args = parser.parse_args(argv)
    args.dirname = args.dirname or default_export()
    start_paddle()
    print(str(convert(**vars(args))).strip())
    print(f"wrote {args.serving_server} and {args.serving_client}")


if __name__ == "__main__":
    run_main(main)
