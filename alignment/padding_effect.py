"""Measure how padding changes the answers of a trained classifier, with and without masking.

    python alignment/padding_effect.py --model_dir best.pdparams

In the reference, padded positions reach both convolutions, so an answer depends on the other
sentences of its batch; mask_padding_in_conv, the default here, prevents that. Every dev sentence of
--data_dir is classified alone and in several kinds of batches. The table shows how much the
probability of class 1 changes compared with the answer to the sentence alone.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from alignment.chain import BATCH
from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference.classify import Run, run_by_length
from convbert.text.processing import TextProcessor
from convbert.training.tasks import glue_examples
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.logits import softmax

HEADER = ("padding in conv", "batch", "max shift", "mean shift", "labels changed", "accuracy")


def main(argv=None) -> None:
    """Print one row for each mode and kind of batch."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", required=True, help="trained checkpoint")
    add("--data_dir", type=Path, default=REVIEWS, help="folder of dev.tsv (default: data/reviews)")
    args = parser.parse_args(argv)
    start_paddle()
    import paddle

    from convbert.inference.dygraph import dygraph_runner, load_classifier

    paddle.set_device("cpu")
    model, processor = load_classifier(args.model_dir)
    texts, labels = glue_examples("sst-2", "dev", args.data_dir)
    longest = processor.max_seq_len
    padded = TextProcessor(processor.tokenizer, longest, pad_multiple=longest)
    kinds = {  # sentences that are sorted by length together
        "alone": (processor, 1),
        f"{BATCH}, sorted by length": (processor, len(texts)),
        f"{BATCH}, in file order": (processor, BATCH),
        f"padded to {longest}": (padded, BATCH),
    }
    trained = "masked" if model.config.mask_padding_in_conv else "leaking"
    print(f"{args.model_dir}: {len(labels)} sentences, trained with padding {trained}\n")
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    for masked in (True, False):
        model.convbert.config = dataclasses.replace(model.config, mask_padding_in_conv=masked)
        run, mode = dygraph_runner(model), "masked" if masked else "leaks"
        probs = {kind: probabilities(run, texts, *how) for kind, how in kinds.items()}
        alone = probs.pop("alone")
        print(f"| {mode} | alone |  |  |  | {accuracy(alone, labels)} |")
        for kind, found in probs.items():
            shift, changed = np.abs(found - alone), ((found > 0.5) != (alone > 0.5)).sum()
            shifts = f"{shift.max():.1e} | {shift.mean():.1e} | {changed}"
            print(f"| {mode} | {kind} | {shifts} | {accuracy(found, labels)} |")


def probabilities(run: Run, texts: list[str], processor, together: int) -> np.ndarray:
    """Return the probability of class 1 of each text, in batches of up to 32."""
    features = processor.encode(texts)
    parts = (features[start : start + together] for start in range(0, len(texts), together))
    logits = [run_by_length(part, processor, run, BATCH) for part in parts]
    return softmax(np.concatenate(logits))[:, 1]


def accuracy(found: np.ndarray, labels: np.ndarray) -> str:
    """Return the share of right answers."""
    return f"{((found > 0.5) == labels).mean():.4f}"


if __name__ == "__main__":
    run_main(main)
