"""Measure how padding changes the answers of a trained classifier, with and without masking.

    python alignment/padding_effect.py --model_dir best.pdparams

In the reference, padded positions reach both convolutions, so an answer depends on the other
sentences of its batch; mask_padding_in_conv, the default here, prevents that. Every dev sentence of
--data_dir is classified alone and in several kinds of batches. The table shows how much the
probability of class 1 changes compared with the answer to the sentence alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from alignment.sentences import BATCH, Batch, probabilities, read_dev, sorted_batches
from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from paddlenlp.utils.checkout import REVIEWS

HEADER = ("padding in conv", "batch", "max shift", "mean shift", "labels changed", "accuracy")


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", required=True, help="trained checkpoint")
    add("--data_dir", type=Path, default=REVIEWS, help="dev.tsv in SST-2's format (data/reviews)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Print one row for each mode and kind of batch."""
    args = parse_args(argv)
    start_paddle()
    import paddle

    from convbert.inference.dygraph import dygraph_runner, load_classifier

    paddle.set_device("cpu")
    model, processor = load_classifier(args.model_dir)
    texts, labels = read_dev(args.data_dir)
    trained = "masked" if model.config.mask_padding_in_conv else "leaking"
    print(f"{args.model_dir}: {len(labels)} sentences, trained with padding {trained}\n")
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    batches = kinds(processor, texts)
    for masked in (True, False):
        model.convbert.config = dataclasses.replace(model.config, mask_padding_in_conv=masked)
        found = {
            name: probabilities(dygraph_runner(model), each)[:, 1] for name, each in batches.items()
        }
        for cells in rows(found, labels):
            print(f"| {'masked' if masked else 'leaks'} | " + " | ".join(cells) + " |")
    return 0


def rows(found: dict[str, np.ndarray], labels: np.ndarray) -> Iterator[list[str]]:
    """Yield the cells of the table; the others are compared with the first kind of batch."""
    (first, alone), *_ = found.items()
    for name, answers in found.items():
        accuracy = f"{((answers > 0.5) == labels).mean():.4f}"
        shift, changed = np.abs(answers - alone), ((answers > 0.5) != (alone > 0.5)).sum()
        shifts = [f"{shift.max():.1e}", f"{shift.mean():.1e}", str(changed)]
        yield [name, *(["", "", ""] if name == first else shifts), accuracy]


def kinds(processor, texts: list[str]) -> dict[str, list[Batch]]:
    """Return the sentences in every kind of batch."""
    features, full = processor.encode(texts), processor.max_seq_len
    alone = [([i], *processor.collate([feature])) for i, feature in enumerate(features)]
    in_order = [
        (list(range(start, start + len(part))), *processor.collate(part))
        for start in range(0, len(features), BATCH)
        for part in [features[start : start + BATCH]]
    ]
    padding = processor.tokenizer.pad_token_id
    padded = [(i, widen(ids, full, padding), widen(types, full, 0)) for i, ids, types in in_order]
    return {
        "alone": alone,
        f"{BATCH}, sorted by length": sorted_batches(processor, texts),
        f"{BATCH}, in file order": in_order,
        f"padded to {full}": padded,
    }


def widen(array: np.ndarray, length: int, value: int) -> np.ndarray:
    """Return [B, L] padded on the right to [B, length]."""
    return np.pad(array, ((0, 0), (0, length - array.shape[1])), constant_values=value)


if __name__ == "__main__":
    run_main(main)
