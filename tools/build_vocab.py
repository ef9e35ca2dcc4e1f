"""Build a WordPiece vocabulary from the sentences of a training file (SST-2 format).

Example:
    python tools/build_vocab.py --data_dir data/reviews --output vocab.txt
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.datasets import load_dataset
from paddlenlp.transformers.vocabulary import SPECIAL_TOKENS
from paddlenlp.utils.files import atomic_write


def build_vocab(sentences: Sequence[str], vocab_size: int, min_frequency: int) -> list[str]:
    """Train WordPiece and return its tokens in the order of their ids; [PAD] is 0.

    The trainer numbers the inner characters ("##a") in the order of a hash table, and these numbers
    break ties between equally frequent pairs. Listing them in advance makes the result
    reproducible.
    """
    from tokenizers import BertWordPieceTokenizer

    trainer = BertWordPieceTokenizer(lowercase=True)
    alphabet = sorted(set("".join(map(trainer.normalizer.normalize_str, sentences))) - {" "})
    trainer.train_from_iterator(
        sentences,
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL_TOKENS.values(), *(f"##{character}" for character in alphabet)],
        show_progress=False,
    )
    return [trainer.id_to_token(index) for index in range(trainer.get_vocab_size())]


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data_dir", default="data/reviews", help="folder with train.tsv")
    add("--output", default="data/reviews/vocab.txt", help="file to write")
    add("--vocab_size", type=int_at_least(100), default=2000, help="largest number of tokens")
    add("--min_frequency", type=int_at_least(1), default=1, help="smallest count of a merged pair")
    args = parser.parse_args(argv)
    train = load_dataset("glue", "sst-2", splits="train", data_dir=args.data_dir)
    sentences = [example["sentence"] for example in train]
    tokens = build_vocab(sentences, args.vocab_size, args.min_frequency)
    with atomic_write(args.output) as file:
        file.writelines(f"{token}\n" for token in tokens)
    print(f"{args.output}: {len(tokens)} tokens from {len(sentences)} sentences")


if __name__ == "__main__":
    run_main(main)
