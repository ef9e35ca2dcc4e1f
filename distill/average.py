r"""Average the weights of checkpoints that were fine-tuned from the same one (arXiv 2203.05482).

    python distill/average.py --model_path runs/first/best.pdparams \
        --model_path runs/second/best.pdparams --output_dir runs/average

The tokenizer and its label names are those of the first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory


def mean_weights(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of equally named weights, float32.

    Raises:
        UserError: the names or shapes differ.
    """
    shapes = [{name: array.shape for name, array in part.items()} for part in parts]
    if any(other != shapes[0] for other in shapes):
        raise UserError("weights", "the checkpoints have different shapes: give runs of one model")
    return {
        name: np.mean([part[name] for part in parts], axis=0, dtype=np.float32) for name in parts[0]
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--model_path", action="append", required=True, help="checkpoint directory; repeat the flag"
    )
    parser.add_argument("--output_dir", required=True, help="checkpoint directory to write")
    args = parser.parse_args(argv)
    start_paddle()
    from convbert.inference.dygraph import load_classifier

    loaded = [load_classifier(path) for path in args.model_path]
    model, processor = loaded[0]
    weights = [
        {name: tensor.numpy() for name, tensor in other.state_dict().items()} for other, _ in loaded
    ]
    model.set_state_dict(mean_weights(weights))
    with product_directory(args.output_dir, "checkpoint", args.model_path) as work:
        model.save_pretrained(work)
        processor.tokenizer.save_pretrained(work)
    print(f"wrote {args.output_dir}, the mean of {len(loaded)} checkpoints")


if __name__ == "__main__":
    run_main(main)
