"""Draw how a classifier processes a text: dynamic kernels, attention, effects of the words.

Example:
    python tools/visualize.py --model_path convbert_base_outputs/best.pdparams \\
        --text "slow at first , but the ending is wonderful ." --output_dir visualize_outputs
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import DEFAULT_SENTENCE, add_device_flag, int_at_least, make_parser
from convbert.command.machine import use_device
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.default_model import default_checkpoint
from convbert.inference.inference_flags import add_length_flag
from paddlenlp.utils.products import check_replaceable, product_directory
from paddlenlp.utils.text import without_surrogates

KIND = "visualization"


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="output")
    add = parser.add_argument
    add("--model_path", help="checkpoint directory (default: the bundled model)")
    add("--text", default=DEFAULT_SENTENCE, help=f"text to explain (default: {DEFAULT_SENTENCE!r})")
    add("--text_pair", help="second sentence, for a model of sentence pairs")
    add("--output_dir", default="./visualize_outputs", help="directory for the files")
    help = "steps of integrated gradients"
    add("--steps", type=int_at_least(1, 4096), default=64, help=help)
    add_length_flag(parser)
    add_device_flag(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Explain one text; write pictures and a page, print the effect of each word."""
    args = parse_args(argv)
    args.model_path = args.model_path or default_checkpoint()
    check_replaceable(args.output_dir, KIND, [args.model_path])
    start_paddle()
    use_device(args.device)
    from convbert.explain import pictures
    from convbert.explain.explanation import explain
    from convbert.inference.dygraph import load_classifier

    model, processor = load_classifier(args.model_path, args.max_seq_len)
    text = without_surrogates(args.text)
    if args.text_pair is not None:
        text = (text, without_surrogates(args.text_pair))
    with hold_signals():
        found = explain(model, processor, text, args.steps)
    with product_directory(args.output_dir, KIND, [args.model_path]) as folder:
        (folder / "words.png").write_bytes(pictures.words_png(found))
        for layer in range(len(found.kernels)):
            picture = pictures.layer_png(found, layer)
            (folder / f"layer_{layer + 1:02d}.png").write_bytes(picture)
        (folder / "index.html").write_text(pictures.page_html(found), encoding="utf-8")
    print(found.prediction)
    print(f"{'word':20} {'gradients':>10} {'occlusion':>10}")
    for word in found.words:
        print(f"{word.text:20} {word.gradients:+10.4f} {word.occlusion:+10.4f}")
    print(f"margin: {found.margin:.4f}, text of [PAD]: {found.pad_margin:.4f}")
    print(f"completeness error of the gradients: {found.completeness_error:.2e}")
    print(f"pictures and page: {args.output_dir}")


if __name__ == "__main__":
    run_main(main)
