"""Export a trained checkpoint to a static program and check that both give the same logits.

Example:
    python tools/export_model.py --model_path convbert_base_outputs/best.pdparams
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.machine import use_device
from convbert.command.start import run_main, start_paddle
from convbert.inference.default_model import default_checkpoint


def main(argv=None) -> None:
    """Export, check, print the differences."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_path", help="checkpoint directory (default: the bundled model)")
    help = "directory to write, replaced as a whole"
    add("--save_inference_dir", default="./convbert_infer", help=help)
    args = parser.parse_args(argv)
    start_paddle()
    use_device("cpu")  # the check runs on every machine
    from convbert.inference.export import TOLERANCE, export_checkpoint

    rows = export_checkpoint(args.model_path or default_checkpoint(), args.save_inference_dir)
    for engine, shape, difference in rows:
        print(f"check {engine:<6} {shape:>8}: largest difference of the logits {difference:.1e}")
    print(f"all within {TOLERANCE:.0e} of the dygraph model")
    print(f"inference model and tokenizer have been saved into {args.save_inference_dir}")


if __name__ == "__main__":
    run_main(main)
