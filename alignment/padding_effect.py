"""Measure what padding does to the answers of a trained classifier, with and without masking it.

    python alignment/padding_effect.py --model_dir best.pdparams

The reference lets padded positions into both convolutions, so an answer depends on which sentences
share its batch; mask_padding_in_conv (the default here) shuts them out. Every dev sentence of SST-2
is answered alone and in batches of several kinds; printed is how far the probability of class 1
moves from the answer alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main

HEADER = ("padding in conv", "batch", "max shift", "mean shift", "labels changed", "accuracy")


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("Measure what padding does to the answers of a trained classifier.")
    parser.add_argument("--model_dir", required=True, help="trained checkpoint")
    parser.add_argument(
        "--data_dir", type=Path, default=ROOT.parent / "shared" / "data" / "SST-2", metavar="DIR"
    )
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Print one row per mode and kind of batch."""
    args = parse_args(argv)
    set_cpu_environment()
    import numpy as np
    import paddle

    from convbert.inference.dygraph import load_classifier
    from paddlenlp.datasets import load_dataset

    paddle.set_device("cpu")
    model, processor = load_classifier(args.model_dir)
    examples = load_dataset("glue", "sst-2", "dev", data_dir=str(args.data_dir))
    features = processor.encode([example["sentence"] for example in examples])
    labels = np.array([example["labels"] for example in examples])
    trained = "masked" if model.config.mask_padding_in_conv else "leaking"
    print(f"{args.model_dir}: {len(labels)} sentences, trained with padding {trained}\n")
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    for masked in (True, False):
        model.convbert.config = dataclasses.replace(model.config, mask_padding_in_conv=masked)
        for row in measure(model, processor, features, labels):
            print(f"| {'masked' if masked else 'leaks'} | " + " | ".join(row) + " |")
    return 0


def measure(model, processor, features: list, labels) -> list[list[str]]:
    """Answer alone, then in every kind of batch; returns the cells of the table."""
    import numpy as np

    alone = answer(model, processor, features, [[i] for i in range(len(features))])
    rows = [["alone", "", "", "", f"{((alone > 0.5) == labels).mean():.4f}"]]
    for name, batches in kinds(features, processor.max_seq_len).items():
        full = processor.max_seq_len if name.startswith("padded") else 0
        found = answer(model, processor, features, batches, full)
        shift = np.abs(found - alone)
        changed = int(((found > 0.5) != (alone > 0.5)).sum())
        accuracy = ((found > 0.5) == labels).mean()
        shifts = (f"{shift.max():.1e}", f"{shift.mean():.1e}")
        rows.append([name, *shifts, str(changed), f"{accuracy:.4f}"])
    return rows


def kinds(features: list, longest: int) -> dict[str, list[list[int]]]:
    """The kinds of batches, as lists of sentence numbers."""
    from convbert.text.processing import length_sorted_batches

    lengths = [len(feature.input_ids) for feature in features]
    order = list(range(len(features)))
    in_order = [order[start : start + 32] for start in range(0, len(order), 32)]
    return {
        "32, sorted by length": list(length_sorted_batches(lengths, 32)),
        "32, as they come": in_order,
        f"padded to {longest}": in_order,
    }


def answer(model, processor, features: list, batches: list[list[int]], full: int = 0):
    """Return the probability of class 1 of every sentence, [sentences] float64.

    Batches are padded to their longest sentence, or to ``full`` tokens if that is more.
    """
    import numpy as np

    from convbert.inference.dygraph import dygraph_runner
    from convbert.text.processing import softmax

    run, found = dygraph_runner(model), np.zeros(len(features))
    for indices in batches:
        arrays = processor.collate([features[i] for i in indices])
        margin = ((0, 0), (0, max(0, full - arrays[0].shape[1])))
        ids, types = (
            np.pad(array, margin, constant_values=value)
            for array, value in zip(arrays, (processor.tokenizer.pad_token_id, 0))
        )
        found[indices] = softmax(run(ids, types))[:, 1]
    return found


if __name__ == "__main__":
    run_main(main)
