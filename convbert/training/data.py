"""A split of a GLUE task, tokenized once and kept as flat arrays; batches are cut from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convbert.text.processing import Features, TextProcessor
from convbert.training.tasks import Task
from paddlenlp.datasets import load_dataset
from paddlenlp.utils.log import get_logger

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
    """

    name: str
    processor: TextProcessor
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    ends: np.ndarray
    labels: np.ndarray

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


def load_split(
    task: Task, split: str, processor: TextProcessor, data_dir: str | None = None
) -> EncodedSplit:
    """Read one split of a task and tokenize it.

    Raises:
        UserError: the files are missing, damaged, or hold no example.
    """
    examples = load_dataset("glue", task.name, splits=split, data_dir=data_dir)
    texts = [task.text(example) for example in examples]
    labels = [example["labels"] for example in examples]
    ids, types, lengths, truncated = [], [], [0], 0
    for start in range(0, len(texts), ENCODE_AT_ONCE):
        # A few official examples (qqp) have an empty sentence; for training they are data.
        encoded = processor.encode(texts[start : start + ENCODE_AT_ONCE], allow_empty=True)
        ids.append(np.concatenate([np.asarray(f.input_ids, np.int32) for f in encoded]))
        types.append(np.concatenate([np.asarray(f.token_type_ids, np.int8) for f in encoded]))
        lengths += [len(feature.input_ids) for feature in encoded]
        truncated += sum(feature.truncated for feature in encoded)
    if truncated:
        cut = f"{truncated} of {len(texts)} texts are cut to {processor.max_seq_len} tokens"
        get_logger().info("%s: %s (--max_seq_length)", split, cut)
    return EncodedSplit(
        split,
        processor,
        np.concatenate(ids),
        np.concatenate(types),
        np.cumsum(lengths),
        np.asarray(labels, dtype=np.float32 if task.regression else np.int64),
    )
