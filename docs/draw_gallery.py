"""Draw the pictures of docs/gallery.md, and write that page with their numbers.

Example:
    python docs/draw_gallery.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.default_model import default_checkpoint
from paddlenlp.utils.files import atomic_write

HEADS = 3  # of each kind, so that the pictures stay small
# name: the sentence and what to look at
SENTENCES = {
    "negation": (
        "the film is not good at all .",
        "Does the answer follow \"good\" or the words before and after it?",
    ),
    "contrast": (
        "slow at first , but the ending is wonderful .",
        "Two halves with opposite meaning: what stands after \"but\" should decide.",
    ),
    "length": (
        "the film is long , the first hour is slow and there is little plot , but the actors are "
        "fine , the music is lovely , and the ending is wonderful .",
        "A kernel reaches four tokens to each side; only attention connects the two ends.",
    ),
}  # fmt: skip
PAGE = """# Gallery

What a trained classifier does with three sentences: {model}. The
pictures and this page are made by `python docs/draw_gallery.py`; `python tools/visualize.py` draws
any other text.

How to read them: the effects are in units of the margin, the logit of the answer less the mean of
the others. A positive effect speaks for the answer, a negative one against it. *Integrated
gradients* and *occlusion* (the word is hidden as padding is) measure it independently of each
other. The gradients start at a text of [PAD] and explain only how the margin differs from that
one's, so where [PAD] alone gets the same answer the two disagree.

In the pictures of a layer the upper row shows the nine taps of each convolution head at every
token: tap -4 weighs the token four places to the left. The lower row shows the attention heads
beside them. Each row of a map has the sum 1. [The model](architecture.md) explains both kinds.
"""
SECTION = """
## {title}

> {text}

{question}

Answer: {answer}. Margin {found.margin:.4f}, of a text of [PAD] {found.pad_margin:.4f}; completeness
error of the gradients {found.completeness_error:.1e}.

![Effect of each word](../images/gallery_{name}_words.png)

![Kernels and attention of layer {layer}](../images/gallery_{name}_layer.png)
"""


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--model_path", help="checkpoint directory (the bundled model)")
    parser.add_argument("--model_name", help="how the page names it (the directory's name)")
    parser.add_argument("--layer", type=int, default=1, help="which one to draw (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Explain the sentences, write the pictures and the page."""
    args = parse_args(argv)
    args.model_path = args.model_path or default_checkpoint()
    start_paddle()
    from convbert.explain.explanation import explain
    from convbert.explain.pictures import answer, layer_png, words_png
    from convbert.inference.dygraph import load_classifier

    model, processor = load_classifier(args.model_path)
    page = PAGE.format(model=args.model_name or f"`{Path(args.model_path).name}`")
    for name, (text, question) in SENTENCES.items():
        with hold_signals():
            found = explain(model, processor, text)
        heads = range(min(HEADS, found.kernels.shape[1]))
        pictures = {"words": words_png(found), "layer": layer_png(found, args.layer - 1, heads)}
        for kind, content in pictures.items():
            with atomic_write(ROOT / "images" / f"gallery_{name}_{kind}.png", "wb") as file:
                file.write(content)
        page += SECTION.format(
            title=name.capitalize(),
            name=name,
            text=text,
            question=question,
            answer=answer(found),
            found=found,
            layer=args.layer,
        )
        print(f"{name}: {answer(found)}, completeness error {found.completeness_error:.1e}")
    with atomic_write(ROOT / "docs" / "gallery.md") as file:
        file.write(page)


if __name__ == "__main__":
    run_main(main)
