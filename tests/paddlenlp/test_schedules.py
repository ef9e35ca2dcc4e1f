"""Learning-rate schedules: closed forms, and a line of upstream's own training log."""

import math

import pytest

from paddlenlp.transformers import CosineDecayWithWarmup, LinearDecayWithWarmup


def rates(schedule, steps):
    """Learning rates before step 0, 1, 2 ... of a run."""
    values = []
    for _ in range(steps):
        values.append(schedule())
        schedule.step()
    return values


def test_linear_matches_upstreams_log():
    # "global step 2500/6315, ... lr: 0.0000671182" of a run with lr 1e-4 and warm-up 0.1
    values = rates(LinearDecayWithWarmup(1e-4, 6315, 0.1), 2501)
    assert f"{values[2500]:.10f}" == "0.0000671182"


def test_linear_rises_then_falls():
    values = rates(LinearDecayWithWarmup(1.0, 10, 4), 11)
    assert values == pytest.approx([0, 0.25, 0.5, 0.75, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])


def test_cosine_is_half_a_wave_after_warm_up():
    values = rates(CosineDecayWithWarmup(2.0, 12, 2), 13)
    expected = [1 + math.cos(math.pi * step / 10) for step in range(11)]
    assert values == pytest.approx([0, 1.0, *expected])


def test_cosine_restarts_from_the_top():
    values = rates(CosineDecayWithWarmup(1.0, 8, 0, with_hard_restarts=True, num_cycles=2), 9)
    half = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert values == pytest.approx([*half, *half, 0])


@pytest.mark.parametrize("schedule", [LinearDecayWithWarmup, CosineDecayWithWarmup])
@pytest.mark.parametrize(("warmup", "steps"), [(0.25, 5), (5, 5), (0, 0), (0.0, 0), (1.0, 20)])
def test_warm_up_in_steps_or_as_a_share(schedule, warmup, steps):
    values = rates(schedule(1.0, 20, warmup), 20)
    assert values[:steps] == pytest.approx([step / steps for step in range(steps)])
    if steps < 20:
        assert values[steps] == 1.0


@pytest.mark.parametrize("warmup", [-1, -0.1, 1.5, True, "0.1"])
def test_wrong_warm_up_is_refused(warmup):
    with pytest.raises(ValueError, match="warmup"):
        LinearDecayWithWarmup(1.0, 10, warmup)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="total_steps"):
        LinearDecayWithWarmup(1.0, 0, 0)


def test_past_the_end_the_rate_stays_zero():
    assert rates(LinearDecayWithWarmup(1.0, 3, 0), 6)[3:] == [0, 0, 0]
