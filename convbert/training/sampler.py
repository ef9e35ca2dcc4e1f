"""Which examples form which batch: shuffled or grouped by length, the same on every rank.

Plain lists of example indices; the order is a function of (seed, epoch) alone, so a run can be
repeated exactly and every process can cut its own share without talking to the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Lengths are compared inside pools of this many batches, so that an epoch stays a random order of
# the data on a large scale.
POOL_BATCHES = 128


@dataclass(frozen=True)
class BatchSampler:
    """Yields one rank's batches of an epoch.

    Args:
        num_examples: size of the split.
        batch_size: examples per batch and rank.
        seed: with the epoch number it fixes the order.
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

        A last batch that the ranks cannot share equally is filled up with examples from the
        start of the order: all ranks see batches of one size, and so equal weights in the mean.
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
