"""Only the matrix products of ConvBERT, as a side of bench_inference.py: the machine's limit.

    products.py torch|onednn WORK CONFIG_JSON

It runs every product of one forward pass at its real shape, with separate weights for each layer.
The four projections of a layer's input count as one product, because they can be run as one. The
nine taps of the two convolutions are left out (0.2% of the operations). The products run with
torch's MKL, and with oneDNN and weights packed in advance, as in torch.compile.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.sides import answer_batches

Shape = tuple[int, ...]
Product = Callable[[], torch.Tensor]


def shapes(config: dict[str, int], batch: int, length: int) -> Iterator[tuple[Shape, Shape, bool]]:
    """Yield (left, right, whether the right one is a weight) for every product, in order."""
    hidden, inner, groups = (config[k] for k in ("hidden_size", "intermediate_size", "num_groups"))
    heads = config["num_attention_heads"] // 2
    size, tokens = hidden // config["num_attention_heads"], batch * length
    half = heads * size
    grouped = [(hidden // groups, inner // groups), (inner // groups, hidden // groups)] * groups
    weights = [(hidden, 4 * half), (hidden, half), (half, heads * 9), (hidden, hidden), *grouped]
    if config["embedding_size"] != hidden:
        yield (tokens, config["embedding_size"]), (config["embedding_size"], hidden), True
    for _ in range(config["num_hidden_layers"]):
        for weight in weights:
            yield (tokens, weight[0]), weight, True
        yield (batch * heads, length, size), (batch * heads, size, length), False  # scores
        yield (batch * heads, length, length), (batch * heads, length, size), False  # context
    for width in (hidden, config["num_classes"]):
        yield (batch, hidden), (hidden, width), True


def torch_product(left: torch.Tensor, right: torch.Tensor, weight: bool) -> Product:
    """Return one product as eager mode runs it."""
    out = torch.matmul(left, right)
    return lambda: torch.matmul(left, right, out=out)


def onednn_product(left: torch.Tensor, right: torch.Tensor, weight: bool) -> Product:
    """Return one product with oneDNN, with the weight packed for this shape."""
    if not weight:
        return torch_product(left, right, weight)
    packed = torch.ops.mkldnn._reorder_linear_weight(right.T.contiguous(), left.shape[0])
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda: linear(left, packed, None, "none", [], "")


def main(library: str, work: str, config_json: str) -> None:
    """Answer requests; the ids give the shape."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    make = {"torch": torch_product, "onednn": onednn_product}[library]
    config, prepared = json.loads(config_json), {}

    def run(ids):
        if ids.shape not in prepared:
            prepared.clear()  # keep buffers and packed weights of one shape only
            activation = functools.cache(torch.randn)  # equal shapes share their memory
            prepared[ids.shape] = [
                make(activation(left), torch.randn(right) if weight else activation(right), weight)
                for left, right, weight in shapes(config, *ids.shape)
            ]
        for product in prepared[ids.shape]:
            product()
        return np.empty(0)

    answer_batches(run, {"torch": torch.__version__})


if __name__ == "__main__":
    main(*sys.argv[1:])
