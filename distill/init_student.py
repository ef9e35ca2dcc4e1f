r"""Make the first weights of a small ConvBERT out of a BERT of six layers (see student.py).

    python distill/init_student.py --teacher teachers/minilm --vocab_file vocab.txt \
        --data_dir SST-2 --output_dir runs/student-0
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main, start_paddle

MAX_TOKENS = 128
FIT_BATCH = 64
FEWEST_ALIKE = 16  # texts of one length that are worth a batch
SHORTEST = 8  # tokens; shorter texts say little about attention at a distance
REPORT_EVERY = 200


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="training")
    parser.add_argument("--teacher", required=True, help="folder with config.json and weights")
    parser.add_argument("--vocab_file", required=True, help="vocab.txt of both models")
    parser.add_argument("--data_dir", required=True, help="folder with SST-2's train.tsv")
    parser.add_argument("--output_dir", required=True, help="checkpoint to write")
    parser.add_argument("--embedding_size", type=int_at_least(1), default=128)
    parser.add_argument("--fit_texts", type=int_at_least(1), default=6000, help="for the layers")
    parser.add_argument("--fit_steps", type=int_at_least(1), default=2000, help="for the words")
    parser.add_argument("--seed", type=int_at_least(0), default=42)
    parser.add_argument("--cpu_threads", type=int_at_least(1))
    return parser.parse_args(argv)


def batches_of_equal_length(sequences: Sequence[Sequence[int]]) -> list:
    """One batch of at most ``FIT_BATCH`` texts, ids [B, L], for each length that is common."""
    import numpy as np

    by_length = defaultdict(list)
    for ids in sequences:
        by_length[len(ids)].append(ids)
    return [
        np.array(alike[:FIT_BATCH])
        for length, alike in sorted(by_length.items())
        if length >= SHORTEST and len(alike) >= FEWEST_ALIKE
    ]


def training_sequences(args: argparse.Namespace, tokenizer) -> list[list[int]]:
    """Token ids of a seeded sample of the training rows; held-out sentences are not among them."""
    import random

    from distill.data import hold_out, read_rows

    texts = read_rows(Path(args.data_dir) / "train.tsv").texts
    _, rows = hold_out(texts)
    chosen = random.Random(args.seed).sample(rows, min(args.fit_texts, len(rows)))
    return [f.input_ids for f in tokenizer.batch_encode([texts[row] for row in chosen], MAX_TOKENS)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    start_paddle(args.cpu_threads)
    import paddle

    from distill import student as parts
    from distill.bert import FrozenBert
    from paddlenlp.transformers import ConvBertModel, ConvBertTokenizer
    from paddlenlp.utils.products import product_directory

    paddle.seed(args.seed)
    tokenizer = ConvBertTokenizer(args.vocab_file)
    teacher = FrozenBert(args.teacher)
    student = ConvBertModel(parts.student_config(teacher, args.embedding_size))
    batches = batches_of_equal_length(training_sequences(args, tokenizer))
    for layer, heads in enumerate(parts.fit_layers(teacher, student, batches)):
        print(f"layer {layer}: heads {heads} of the teacher became convolutions", flush=True)
    parts.factorise_embeddings(teacher, student)
    error = parts.fit_embeddings(teacher, student, args.fit_steps, args.seed, report=report)
    print(f"embeddings: mean squared error {error:.4f}")
    print(f"parameters: {sum(parameter.size for parameter in student.parameters())}")
    with product_directory(args.output_dir, "checkpoint", [args.teacher]) as work:
        student.save_pretrained(str(work))
        tokenizer.save_pretrained(work)


def report(step: int, loss: float) -> None:
    """Print the loss of the embeddings now and then."""
    if step % REPORT_EVERY == 0:
        print(f"embeddings: step {step} mean squared error {loss:.4f}", flush=True)


if __name__ == "__main__":
    run_main(main)
