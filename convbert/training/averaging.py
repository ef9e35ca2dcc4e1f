"""Exponential moving average of the weights: a steadier model to evaluate and to keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle
from paddle import nn


class WeightAverage:
    """Keeps ``average = decay * average + (1 - decay) * weights``, once per optimizer step.

    In the first steps the decay is ``(1 + step) / (10 + step)`` where that is smaller, so that the
    random weights of the start do not linger (Polyak and Juditsky 1992; warm-up as in TensorFlow).

    Args:
        model: whose trainable parameters are averaged.
        decay: share of the old average that is kept, in (0, 1). 1 / (1 - decay) steps count.
    """

    def __init__(self, model: nn.Layer, decay: float):
        self.decay = decay
        self.parameters = [p for p in model.parameters() if not p.stop_gradient]
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @paddle.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after ``step`` (from 1) into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, parameter in zip(self.averages, self.parameters):
            average.scale_(decay).add_(parameter * (1 - decay))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model for the block, then the weights back."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        self._fill(self.averages)
        try:
            yield
        finally:
            self._fill(kept)

    @paddle.no_grad()
    def _fill(self, values) -> None:
        for parameter, value in zip(self.parameters, values):
            parameter.set_value(value)
