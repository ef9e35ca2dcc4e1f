"""The sides of the comparisons that run ConvBERT of transformers, and the matrix products alone.

    peers.py export WORK   write WORK/transformers.onnx
    peers.py SIDE WORK     answer requests, as one of the other `ACTIONS`

The model is that of WORK/hf. Each peer has its best standard settings: all cores, all graph
optimizations, float32. A package is imported only where it is used, because memory is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_batches, answer_requests

CORES = len(os.sched_getaffinity(0))
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
ONNX_FILE = "transformers.onnx"
Shape = tuple[int, ...]


def build(work: Path):
    """Return transformers' classifier with the weights of all sides."""
    import torch
    import transformers
    from safetensors.torch import load_file

    torch.set_num_threads(CORES)
    config = transformers.ConvBertConfig.from_pretrained(work / "hf")
    model = transformers.ConvBertForSequenceClassification(config)
    model.load_state_dict(load_file(work / "hf" / "model.safetensors"))
    return model.eval()


def arguments(ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of transformers for ids [B, L], 0 is padding."""
    return dict(zip(INPUTS, (ids, (ids != 0).astype(np.int64), np.zeros_like(ids))))


def export(work: Path) -> None:
    """Write the ONNX file with dynamic batch and length, with torch's default exporter."""
    import torch

    ids = arguments(np.ones((2, 16), np.int64))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    torch.onnx.export(
        build(work),
        kwargs={name: torch.from_numpy(array) for name, array in ids.items()},
        f=str(work / ONNX_FILE),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(INPUTS, axes),
        dynamo=True,
    )


def infer_torch(work: Path, compiled: bool) -> None:
    """Answer requests in eager mode, or compiled for each shape with frozen weights."""
    import torch

    model = build(work)
    if compiled:
        torch._inductor.config.freezing = True
        torch._dynamo.config.recompile_limit = 100  # shapes
        model = torch.compile(model, dynamic=False)

    def run(ids):
        with torch.no_grad():  # freezing does not work in inference mode
            inputs = {name: torch.from_numpy(array) for name, array in arguments(ids).items()}
            return model(**inputs).logits.numpy()

    answer_batches(run, "torch", "transformers")


def infer_onnxruntime(work: Path) -> None:
    """Answer requests with ONNX Runtime on the ONNX file."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = str(work / ONNX_FILE)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]  # the exporter drops unused ones

    def run(ids):
        inputs = arguments(ids)
        return session.run(["logits"], {name: inputs[name] for name in names})[0]

    answer_batches(run, "onnxruntime")


def infer_openvino(work: Path) -> None:
    """Answer requests with OpenVINO on the ONNX file."""
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": CORES,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = ov.Core().compile_model(str(work / ONNX_FILE), "CPU", settings)
    names = [entry.get_any_name() for entry in model.inputs]
    request = model.create_infer_request()

    def run(ids):
        inputs = arguments(ids)
        return request.infer({name: inputs[name] for name in names})[0].copy()

    answer_batches(run, "openvino")


def train(work: Path, compiled: bool) -> None:
    """Answer requests with training steps with torch's fused AdamW."""
    import torch

    model = build(work)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, eps=1e-6, weight_decay=0.01, fused=True
    )
    if compiled:
        model = torch.compile(model, dynamic=False)

    def handle(ids, labels, train):
        ids, labels = torch.tensor(ids), torch.tensor(labels)
        mask = torch.ones_like(ids)
        if not train:
            model.eval()
            with torch.no_grad():
                return {"logits": model(input_ids=ids, attention_mask=mask).logits.tolist()}
        model.train()
        start = time.perf_counter()
        logits = model(input_ids=ids, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"ms": (time.perf_counter() - start) * 1000}

    answer_requests(handle, "torch", "transformers")


def products(work: Path, packed: bool) -> None:
    """Run only the matrix products of each batch: the machine's limit.

    Every product of one forward pass has its real shape, and each layer its own weights. They run
    with torch's MKL, or with oneDNN and weights packed in advance, as in torch.compile.
    """
    import torch

    torch.set_num_threads(CORES)
    torch.set_grad_enabled(False)
    config = json.loads((work / "hf" / "config.json").read_text(encoding="utf-8"))
    make, prepared = onednn_product if packed else torch_product, {}

    def run(ids):
        if ids.shape not in prepared:
            prepared.clear()  # keep buffers and packed weights of one shape only
            activation = cache(torch.randn)  # equal shapes share their memory
            prepared[ids.shape] = [
                make(activation(left), torch.randn(right) if weight else activation(right), weight)
                for left, right, weight in product_shapes(config, *ids.shape)
            ]
        for product in prepared[ids.shape]:
            product()
        return np.empty(0)

    answer_batches(run, "torch")


def product_shapes(config: dict, batch: int, length: int) -> Iterator[tuple[Shape, Shape, bool]]:
    """Yield (left, right, whether the right one is a weight) for every product, in order.

    The four projections of a layer's input count as one product, because they can be run as one.
    The nine taps of the two convolutions are left out (0.2% of the operations).
    """
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
    for width in (hidden, len(config["id2label"])):
        yield (batch, hidden), (hidden, width), True


def torch_product(left, right, weight: bool) -> Callable:
    """Return one product as eager mode runs it."""
    import torch

    out = torch.matmul(left, right)
    return lambda: torch.matmul(left, right, out=out)


def onednn_product(left, right, weight: bool) -> Callable:
    """Return one product with oneDNN, with the weight packed for this shape."""
    import torch

    if not weight:
        return torch_product(left, right, weight)
    packed = torch.ops.mkldnn._reorder_linear_weight(right.T.contiguous(), left.shape[0])
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda: linear(left, packed, None, "none", [], "")


ACTIONS = {
    "export": export,
    "torch": partial(infer_torch, compiled=False),
    "torch_compile": partial(infer_torch, compiled=True),
    "onnxruntime": infer_onnxruntime,
    "openvino_peer": infer_openvino,
    "products_torch": partial(products, packed=False),
    "products_onednn": partial(products, packed=True),
    "train_torch": partial(train, compiled=False),
    "train_torch_compile": partial(train, compiled=True),
}


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ACTIONS:
        sys.exit(__doc__)
    ACTIONS[sys.argv[1]](Path(sys.argv[2]))
