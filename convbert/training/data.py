"""A tokenized split, and which of its examples form which batch and optimizer step."""

import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convbert.text.processing import Features, TextProcessor
from convbert.training.own_data import open_own_data
from convbert.training.tasks import TASKS, Examples, Task, glue_examples, report_data
from convbert.training.teacher import read_teacher_logits
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

# Texts are sorted by length only inside pools of this many batches, so that the order of an epoch
# stays random on a large scale.
POOL_BATCHES = 128
MANY_UNKNOWN = 0.1  # share of tokens
ENCODE_AT_ONCE = 8192  # texts; bounds the memory of the tokenizer's Python lists


@dataclass(frozen=True)
class EncodedSplit:
    """All texts of a split as token ids."""

    name: str  # "train", "dev", ...
    processor: TextProcessor  # pads the batches
    input_ids: np.ndarray  # [tokens] int32, all texts one after the other
    token_type_ids: np.ndarray  # [tokens] int8
    ends: np.ndarray  # [examples + 1] int64; text i is input_ids[ends[i] : ends[i + 1]]
    labels: np.ndarray  # [examples], int64 class ids or float32 scores
    teacher_logits: np.ndarray | None = None  # [examples, C] float32

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, [examples]."""
        return np.diff(self.ends)

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    ids, types, ends = np.concatenate(ids), np.concatenate(types), np.cumsum(lengths)
    unknown = float((ids == processor.tokenizer.unk_token_id).mean())
    if unknown > MANY_UNKNOWN:
        text = "%s: %.0f%% of the tokens are not in the vocabulary: is the model for this language?"
        get_logger().warning(text, name, 100 * unknown)
    labels = np.asarray(labels, dtype=np.float32 if regression else np.int64)
    return EncodedSplit(name, processor, ids, types, ends, labels, teacher_logits)


def load_data(
    config: Namespace, pad_multiple: int
) -> tuple[Task, EncodedSplit, list[EncodedSplit]]:
    """Read, report and tokenize the data: the user's own files or a GLUE task.

    Returns:
        The task, its training split and its dev splits.

    Raises:
        UserError: the data, the vocabulary or the teacher's logits cannot be used.
    """
    if config.train_file:
        task, examples = open_own_data(config)
    else:
        task = TASKS[config.task_name]
        names = ("train", *task.dev_splits)
        examples = {name: glue_examples(task.name, name, config.data_dir) for name in names}
    report_data(task, examples)
    source, label_names = config.model_name_or_path, list(task.label_names or ()) or None
    if config.vocab_file:
        tokenizer = ConvBertTokenizer(config.vocab_file, label_names=label_names)
    elif source.endswith(".json"):
        raise UserError(
            "command-line",
            f"--model_name_or_path {source} contains no vocabulary: give --vocab_file too",
        )
    else:
        tokenizer = ConvBertTokenizer.from_pretrained(source, label_names=label_names)
    processor = TextProcessor(tokenizer, config.max_seq_length, label_names, pad_multiple)
    teacher, training = None, examples.pop("train")
    if config.teacher_logits:
        teacher = read_teacher_logits(config.teacher_logits, training.texts, task)
    train = encode_split("train", training, processor, task.regression, teacher)
    dev = [
        encode_split(name, split, processor, task.regression) for name, split in examples.items()
    ]
    return task, train, dev


class Update(NamedTuple):
    """One optimizer step and the examples it trains on."""

    step: int  # from 1
    epoch: int  # from 0
    batch: int  # the last batch of this step within its epoch, from 0
    batches: list[list[int]]  # indices of the examples, for this process

    @property
    def num_examples(self) -> int:
        """Examples of this process in the step."""
        return sum(map(len, self.batches))


@dataclass(frozen=True)
class BatchSampler:
    """Chooses the examples of each batch; a function of the seed and the number of the epoch."""

    num_examples: int
    batch_size: int  # examples per batch and rank
    seed: int = 42
    lengths: Sequence[int] | None = None  # tokens per example to group by; None: random order
    rank: int = 0  # this process among the ``world_size`` that share an epoch
    world_size: int = 1
    group: int = 1  # batches that make up one optimizer step

    def __len__(self) -> int:
        """Batches of one rank in an epoch; the last one may be smaller."""
        return math.ceil(self.num_examples / (self.batch_size * self.world_size))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return math.ceil(len(self) / self.group)

    def updates(self, done: int, total: int) -> Iterator[Update]:
        """Yield the optimizer steps from ``done`` + 1 to ``total``, epoch after epoch."""
        step = done
        while step < total:
            epoch, first = divmod(step, self.steps_per_epoch)
            batches = list(self.epoch(epoch))
            for start in range(first * self.group, len(batches), self.group):
                if step == total:
                    return
                step += 1
                part = batches[start : start + self.group]
                yield Update(step, epoch, start + len(part) - 1, part)

    def epoch(self, number: int) -> Iterator[list[int]]:
        """Yield the index lists of epoch ``number`` (from 0) for this rank.

        If the ranks cannot share the last batch equally, it is filled with examples from the start
        of the order. So the batches of all ranks have the same size and the same weight in the
        mean.
        """
        random = np.random.default_rng([self.seed, number])
        shuffled = order = random.permutation(self.num_examples)
        size = self.batch_size * self.world_size
        if self.lengths is not None:
            lengths, pool = np.asarray(self.lengths), size * POOL_BATCHES
            pools = [order[start : start + pool] for start in range(0, len(order), pool)]
            # A stable sort: texts of the same length keep their random order.
            pools = [pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools]
            order = np.concatenate(pools)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        if self.lengths is not None:
            batches = [batches[i] for i in random.permutation(len(batches))]
        for batch in batches:
            filling = np.resize(shuffled, -len(batch) % self.world_size)
            yield np.concatenate([batch, filling])[self.rank :: self.world_size].tolist()
