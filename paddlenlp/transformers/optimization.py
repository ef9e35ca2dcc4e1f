"""Learning-rate schedules with a linear warm-up, under upstream's names and arguments."""

import math

from paddle.optimizer.lr import LambdaDecay


class _DecayWithWarmup(LambdaDecay):
    """From 0 to ``learning_rate`` over the warm-up, then times ``decay(progress)``.

    Args:
        learning_rate: the highest learning rate, reached at the end of the warm-up.
        total_steps: number of optimizer steps of the run.
        warmup: an int counts steps, a float in [0, 1] is a share of ``total_steps``.
        last_epoch, verbose: as in `paddle.optimizer.lr.LRScheduler`.

    Raises:
        ValueError: ``total_steps`` or ``warmup`` is out of range.
    """

    def __init__(self, learning_rate, total_steps, warmup, last_epoch=-1, verbose=False):
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, not {total_steps}")
        if isinstance(warmup, float) and 0.0 <= warmup <= 1.0:
            warmup = math.floor(warmup * total_steps)
        if type(warmup) is not int or warmup < 0:
            raise ValueError(f"warmup must be an int >= 0 or a float in [0, 1], not {warmup!r}")
        self.warmup_steps = warmup
        self.total_steps = total_steps
        super().__init__(learning_rate, self._factor, last_epoch, verbose)

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return step / self.warmup_steps
        remaining = self.total_steps - self.warmup_steps
        return self.decay(min(1.0, (step - self.warmup_steps) / max(1, remaining)))

    def decay(self, progress: float) -> float:
        """Factor of the learning rate at ``progress`` in [0, 1] between warm-up and the end."""
        raise NotImplementedError


class LinearDecayWithWarmup(_DecayWithWarmup):
    """Linear warm-up, then linear decay to 0 at ``total_steps``."""

    def decay(self, progress: float) -> float:
        return 1.0 - progress


class CosineDecayWithWarmup(_DecayWithWarmup):
    """Linear warm-up, then cosine decay.

    Args:
        with_hard_restarts: start again from the highest rate after each cycle.
        num_cycles: cosine cycles between warm-up and end. None: 0.5, a single decay to 0; with hard
            restarts 1.
    """

    def __init__(
        self,
        learning_rate,
        total_steps,
        warmup,
        with_hard_restarts=False,
        num_cycles=None,
        last_epoch=-1,
        verbose=False,
    ):
        self.with_hard_restarts = with_hard_restarts
        default_cycles = 1 if with_hard_restarts else 0.5
        self.num_cycles = default_cycles if num_cycles is None else num_cycles
        super().__init__(learning_rate, total_steps, warmup, last_epoch, verbose)

    def decay(self, progress: float) -> float:
        if not self.with_hard_restarts:
            return 0.5 * (1.0 + math.cos(2.0 * math.pi * self.num_cycles * progress))
        if progress >= 1.0:
            return 0.0
        return 0.5 * (1.0 + math.cos(math.pi * (self.num_cycles * progress % 1.0)))
