"""Batches of an epoch: complete, repeatable, shared between ranks, grouped by length."""

import numpy as np
import pytest

from convbert.training.data import BatchSampler

LENGTHS = np.random.default_rng(0).integers(3, 60, size=1003)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["random", "grouped"])
def test_an_epoch_holds_every_example_once(lengths):
    sampler = BatchSampler(1003, 16, seed=1, lengths=lengths)
    batches = list(sampler.epoch(0))
    assert len(batches) == len(sampler) == 63
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert sorted(map(len, batches)) == [11] + [16] * 62


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["random", "grouped"])
def test_order_depends_on_seed_and_epoch_alone(lengths):
    def order(seed, epoch):
        return list(BatchSampler(1003, 16, seed=seed, lengths=lengths).epoch(epoch))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["random", "grouped"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_single_process_batches(lengths, world_size):
    whole = list(BatchSampler(1003, 6 * world_size, seed=3, lengths=lengths).epoch(2))
    ranks = [
        list(BatchSampler(1003, 6, 3, lengths, rank, world_size).epoch(2))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(whole)}
    for step, batch in enumerate(whole):
        shares = [batches[step] for batches in ranks]
        assert len({len(share) for share in shares}) == 1  # equal weights in the mean gradient
        joined = [index for share in shares for index in share]
        assert set(batch) <= set(joined)
        if len(joined) == len(batch):
            assert sorted(joined) == sorted(batch)


def test_more_ranks_than_examples():
    shares = [list(BatchSampler(2, 4, rank=rank, world_size=5).epoch(0)) for rank in range(5)]
    assert [len(batch) for share in shares for batch in share] == [1] * 5


def padded_tokens(batches):
    """Tokens computed, padding included."""
    return sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches)


def test_grouping_saves_padding():
    real = LENGTHS.sum()
    random = padded_tokens(BatchSampler(1003, 16, seed=5).epoch(0))
    grouped = padded_tokens(BatchSampler(1003, 16, seed=5, lengths=LENGTHS).epoch(0))
    assert random > 1.6 * real
    assert grouped < 1.05 * real


def test_grouped_batches_come_in_random_order():
    means = [np.mean(LENGTHS[batch]) for batch in BatchSampler(1003, 16, lengths=LENGTHS).epoch(0)]
    steps = np.sign(np.diff(means))
    assert 0.2 < np.mean(steps > 0) < 0.8
