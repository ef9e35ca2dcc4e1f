"""A tokenized split, and which of its examples form which batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convbert.text.processing import Features, TextProcessor
from convbert.training.tasks import Examples
from paddlenlp.utils.log import get_logger

# Texts are sorted by length only inside pools of this many batches, so that the order of an epoch
# stays random on a large scale.
POOL_BATCHES = 128
ENCODE_AT_ONCE = 8192  # texts; bounds the memory of the tokenizer's Python lists
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class EncodedSplit:
    """All texts of a split as token ids.

    Attributes:
        name: "train", "dev", ...
        processor: pads the batches.
        input_ids, token_type_ids: all texts one after the other, [tokens] int32 and int8.
        ends: [examples + 1] int64; text i is ``input_ids[ends[i] : ends[i + 1]]``.
        labels: [examples], int64 class ids, or float32 scores.
        teacher_logits: [examples, C] float32 if there is a teacher; see `teacher_logits`.
    """

    name: str
    processor: TextProcessor
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    teacher_logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, [examples]."""
        return np.diff(self.ends)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return ``input_ids`` and ``token_type_ids`` [B, L] int64, padded, and ``labels`` [B]."""
        features = []
        for index in indices:
            start, end = self.ends[index], self.ends[index + 1]
            features.append(Features(self.input_ids[start:end], self.token_type_ids[start:end]))
        return (*self.processor.collate(features), self.labels[list(indices)])


def encode_split(
    name: str,
    examples: Examples,
    processor: TextProcessor,
    regression: bool,
    teacher_logits: np.ndarray | None = None,
) -> EncodedSplit:
    """Tokenize the texts of a split; its labels become int64 class ids or float32 scores."""
    texts, labels = examples
    ids, types, lengths, truncated = [], [], [0], 0
    for start in range(0, len(texts), ENCODE_AT_ONCE):
        # A few official examples (qqp) have an empty sentence; they are valid training data.
        encoded = processor.encode(texts[start : start + ENCODE_AT_ONCE], allow_empty=True)
        ids.append(np.concatenate([np.asarray(f.input_ids, np.int32) for f in encoded]))
        types.append(np.concatenate([np.asarray(f.token_type_ids, np.int8) for f in encoded]))
        lengths += [len(feature.input_ids) for feature in encoded]
        truncated += sum(feature.truncated for feature in encoded)
    if truncated:
        cut = f"{truncated} of {len(texts)} texts are cut to {processor.max_seq_len} tokens"
        get_logger().info("%s: %s (--max_seq_length)", name, cut)
    return EncodedSplit(
        name,
        processor,
        np.concatenate(ids),
        np.concatenate(types),
        np.cumsum(lengths),
        np.asarray(labels, dtype=np.float32 if regression else np.int64),
        teacher_logits,
    )


@dataclass(frozen=True)
class BatchSampler:
    """Yields one rank's batches of an epoch.

    Args:
        num_examples: size of the split.
        batch_size: examples per batch and rank.
        seed: determines the order, together with the epoch number.
        lengths: tokens per example [num_examples] to group batches by; None: random order.
        rank, world_size: this process among those that share an epoch.
    """

    num_examples: int
    batch_size: int
    seed: int = 42
    lengths: Sequence[int] | None = None
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        """Batches of one rank in an epoch; the last one may be smaller."""
        return -(-self.num_examples // self.global_batch_size)

    @property
    def global_batch_size(self) -> int:
        """Examples of one batch over all ranks."""
        return self.batch_size * self.world_size

    def epoch(self, number: int) -> Iterator[list[int]]:
        """Yield the index lists of epoch ``number`` (from 0) for this rank.

        If the ranks cannot share the last batch equally, it is filled with examples from the start
        of the order. So the batches of all ranks have the same size and the same weight in the
        mean.
        """
        random = np.random.default_rng([self.seed, number])
        order = random.permutation(self.num_examples)
        size = self.global_batch_size
        if self.lengths is None:
            batches = [order[start : start + size] for start in range(0, len(order), size)]
        else:
            batches = self._grouped(order, random)
        for batch in batches:
            missing = -len(batch) % self.world_size
            share = np.concatenate([batch, np.resize(order, missing)])[self.rank :: self.world_size]
            yield share.tolist()

    def _grouped(self, order: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        size, lengths = self.global_batch_size, np.asarray(self.lengths)
        batches = []
        for start in range(0, len(order), size * POOL_BATCHES):
            pool = order[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(-lengths[pool], kind="stable")]  # ties keep their random order
            batches += [pool[at : at + size] for at in range(0, len(pool), size)]
        return [batches[i] for i in random.permutation(len(batches))]
