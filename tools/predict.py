"""Classify sentences with a trained checkpoint in dygraph mode and print one line for each.

Example:
    python tools/predict.py --model_path convbert_base_outputs/best.pdparams --text "a fine film"
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import add_device_flag, make_parser
from convbert.command.machine import use_device
from convbert.command.start import run_main, start_paddle
from convbert.inference.classify import classify_and_report
from convbert.inference.default_model import default_checkpoint
from convbert.inference.inference_flags import add_text_flags, check_text_flags, read_texts


def main(argv=None) -> None:
    """Predict and print."""
    parser = make_parser(__doc__, heading="engine")
    parser.add_argument("--model_path", help="checkpoint directory (default: the bundled model)")
    add_device_flag(parser)
    add_text_flags(parser, npy="output_predict_engine.npy")
    args = parser.parse_args(argv)
    check_text_flags(args)
    start_paddle()
    use_device(args.device)
    from convbert.inference.dygraph import dygraph_runner, load_classifier

    model, processor = load_classifier(args.model_path or default_checkpoint(), args.max_seq_len)
    run = dygraph_runner(model)
    classify_and_report(read_texts(args), processor, run, args, lambda _, answer: str(answer))


if __name__ == "__main__":
    run_main(main)
