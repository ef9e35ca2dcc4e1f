"""The matrix products of ConvBERT alone, as a side of bench_inference.py: what the machine can do.

    gemms.py numpy|torch|onednn WORK CONFIG_JSON

Every product of one forward pass at its true shape, each layer with weights of its own, into
buffers that are there beforehand. The four projections of a layer's input count as one product, as
they can be run. The nine taps of the dynamic and of the depthwise convolution are no matrix product
and are left out (0.2% of the operations). Libraries: NumPy's OpenBLAS, torch's MKL, and oneDNN with
weights packed beforehand.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_runs

CORES = len(os.sched_getaffinity(0))


def weight_shapes(config) -> list[tuple[int, int]]:
    """[in, out] of every product of one layer with a weight, on all its B * L tokens."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    width = hidden // 2  # of one branch: half of the heads
    taps = config["num_attention_heads"] // 2 * 9
    attention = [(hidden, 4 * width), (hidden, width), (width, taps), (hidden, hidden)]
    groups = config["num_groups"]
    return attention + groups * [
        (hidden // groups, inner // groups),
        (inner // groups, hidden // groups),
    ]


def products(config, batch: int, length: int):
    """Yield (left shape, right shape, fixed): every product of a pass, in order of layers."""
    heads = config["num_attention_heads"] // 2
    size = config["hidden_size"] // config["num_attention_heads"]
    tokens = batch * length
    if config["embedding_size"] != config["hidden_size"]:
        projection = (config["embedding_size"], config["hidden_size"])
        yield (tokens, projection[0]), projection, True
    for _ in range(config["num_hidden_layers"]):
        for shape in weight_shapes(config):
            yield (tokens, shape[0]), shape, True
        yield (batch * heads, length, size), (batch * heads, size, length), False  # scores
        yield (batch * heads, length, length), (batch * heads, length, size), False  # context
    for width in (config["hidden_size"], config["num_classes"]):
        yield (batch, config["hidden_size"]), (config["hidden_size"], width), True


def gigaflops(config, batch: int, length: int) -> float:
    """Multiplications and additions of the products, in 1e9."""
    return sum(2e-9 * np.prod(a) * b[-1] for a, b, _ in products(config, batch, length))


def numpy_product(left, right, fixed: bool) -> Callable[[], None]:
    """One product by NumPy."""
    out = np.matmul(left, right)
    return lambda: np.matmul(left, right, out=out)


def torch_product(left, right, fixed: bool) -> Callable[[], None]:
    """One product by torch as eager mode runs it."""
    import torch

    left, right = torch.from_numpy(left), torch.from_numpy(right)
    out = torch.matmul(left, right)
    return lambda: torch.matmul(left, right, out=out)


def onednn_product(left, right, fixed: bool) -> Callable[[], None]:
    """One product by torch's oneDNN with the weight packed for this shape, as its compiler does."""
    import torch

    if not fixed:
        return torch_product(left, right, fixed)
    left = torch.from_numpy(left)
    weight = torch.from_numpy(np.ascontiguousarray(right.T))
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, left.shape[0])
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda: linear(left, packed, None, "none", [], "")


LIBRARIES = {"numpy": numpy_product, "torch": torch_product, "onednn": onednn_product}


def main(library: str, work: str, config_json: str) -> None:
    """Answer requests; the ids give the shape, the logits are the operations in 1e9."""
    versions = {"numpy": np.__version__}
    if library != "numpy":
        import torch

        torch.set_num_threads(CORES)
        torch.set_grad_enabled(False)
        versions = {"torch": torch.__version__}
    config = json.loads(config_json)
    prepared: dict[tuple[int, int], list[Callable[[], None]]] = {}

    def run(ids):
        batch, length = ids.shape
        if ids.shape not in prepared:
            prepared.clear()  # one shape at a time: its buffers and packed weights
            prepared[ids.shape] = prepare(LIBRARIES[library], config, batch, length)
        for product in prepared[ids.shape]:
            product()
        return np.array(gigaflops(config, batch, length))

    answer_runs(run, versions)


def prepare(make, config, batch: int, length: int) -> list[Callable[[], None]]:
    """Buffers, filled, for every product at one shape; activations of one shape are shared."""
    random, shared = np.random.RandomState(0), {}

    def activation(shape):
        if shape not in shared:
            shared[shape] = random.standard_normal(shape).astype(np.float32)
        return shared[shape]

    return [
        make(
            activation(left),
            random.standard_normal(right).astype(np.float32) if fixed else activation(right),
            fixed,
        )
        for left, right, fixed in products(config, batch, length)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
