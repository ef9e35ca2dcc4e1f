"""What the processes of one run do together.

Several processes are started by ``python -m paddle.distributed.launch``; a plain run is one.
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
    """This process among those of the run. ``rank`` 0 writes; all compute the same decisions."""

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
        """Keep the gradients of this block on the rank where ``local``; the next block averages."""
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
    """Meet the other processes of ``paddle.distributed.launch``; alone there is nothing to do."""
    if int(os.environ.get("PADDLE_TRAINERS_NUM") or 1) < 2:
        return Ranks()
    if device == "cpu":
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
    distributed.init_parallel_env()
    return Ranks(distributed.get_rank(), distributed.get_world_size())
