"""What the processes of a distributed run do together.

``python -m paddle.distributed.launch`` starts several processes; otherwise a run is one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import distributed, nn


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. Rank 0 writes; all ranks make the same decisions."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes files."""
        return self.rank == 0

    def wrap(self, model: nn.Layer) -> nn.Layer:
        """Return ``model`` with gradients averaged over the ranks."""
        return paddle.DataParallel(model) if self.size > 1 else model

    @contextmanager
    def local_gradients(self, model: nn.Layer, local: bool) -> Iterator[None]:
        """If ``local``, do not average the gradients of this block; the next block averages all."""
        if local and self.size > 1:
            with model.no_sync():
                yield
        else:
            yield

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Add up the arrays of all ranks (same shape); every rank gets the result."""
        if self.size == 1:
            return array
        tensor = paddle.to_tensor(array)
        distributed.all_reduce(tensor)
        return tensor.numpy()


def join_ranks(device: str) -> Ranks:
    """Connect to the other processes of ``paddle.distributed.launch``, if there are any."""
    if int(os.environ.get("PADDLE_TRAINERS_NUM") or 1) < 2:
        return Ranks()
    if device == "cpu":
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
    distributed.init_parallel_env()
    return Ranks(distributed.get_rank(), distributed.get_world_size())
