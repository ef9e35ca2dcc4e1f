"""The rows of SST-2 and a held-out part of them; the standard library is enough.

SST-2's train file holds sentences and the phrases cut from them. The held-out part is made of whole
sentences, as the official dev set is, and a phrase stays in training only when a sentence that
stays in training contains it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convbert.text import reading
from paddlenlp.utils.errors import UserError

TEXT_COLUMN, LABEL_COLUMN = "sentence", "label"
HELD_OUT_SENTENCES = 872  # as many as the official dev set has
HELD_OUT_SEED = 20
SMALLEST_RATIO = 7  # of a small file at most one sentence in seven is held out
RARE_WORDS = 4  # words of a phrase that are looked up to find the sentences which may contain it


@dataclass(frozen=True)
class Rows:
    """Texts in file order, and their labels: 0 negative, 1 positive, -1 where there are none."""

    texts: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.texts)


def read_rows(path: str | Path) -> Rows:
    """Read GLUE's SST-2 train.tsv, dev.tsv or test.tsv.

    Raises:
        UserError: as `convbert.text.reading.read_rows`, or a label that is neither 0 nor 1.
    """
    _, header = next(reading.read_lines(str(path)))
    label_column = LABEL_COLUMN if LABEL_COLUMN in header.split("\t") else None
    rows = list(reading.read_rows(str(path), [TEXT_COLUMN], label_column))
    for row in rows if label_column else ():
        if row.gold not in ("0", "1"):
            raise UserError("label", f"{row.where} has label '{row.gold}': give 0 or 1")
    labels = [int(row.gold) if label_column else -1 for row in rows]
    return Rows([row.text.strip() for row in rows], labels)


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


def whole_sentences(texts: Sequence[str]) -> list[int]:
    """Indices of the texts that no longer text contains; of equal texts, the first."""
    containers = Containers(texts)
    return [index for index, text in enumerate(texts) if _is_whole(index, text, texts, containers)]


def _is_whole(index: int, text: str, texts: Sequence[str], containers: Containers) -> bool:
    found = containers.of(text)
    return bool(found) and found[0] == index and all(texts[other] == text for other in found)


def hold_out(
    texts: Sequence[str], size: int = HELD_OUT_SENTENCES, seed: int = HELD_OUT_SEED
) -> tuple[list[int], list[int]]:
    """Split rows into (held-out sentences, training rows); both are sorted lists of indices.

    Phrases that only held-out sentences contain are in neither of the two.
    """
    sentences = whole_sentences(texts)
    size = min(size, len(sentences) // SMALLEST_RATIO)
    held_out = sorted(random.Random(seed).sample(sentences, size))
    chosen = set(held_out)
    kept = Containers([texts[index] for index in sentences if index not in chosen])
    training = [index for index, text in enumerate(texts) if kept.of(text)]
    return held_out, training
