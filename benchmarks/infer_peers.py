"""The peers of the inference benchmarks: ConvBERT of transformers, run in several ways.

    infer_peers.py export WORK CONFIG_JSON   write WORK/transformers.onnx
    infer_peers.py PEER WORK CONFIG_JSON     answer requests with one of `PEERS`

Each peer has its best standard settings: all cores, all graph optimizations, float32.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_batches

CORES = len(os.sched_getaffinity(0))
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Run = Callable[[np.ndarray], np.ndarray]


def build(work: Path, config_json: str):
    """Return transformers' classifier with the weights of all sides."""
    import torch
    import transformers

    torch.set_num_threads(CORES)
    settings = json.loads(config_json)
    settings["num_labels"] = settings.pop("num_classes")
    config = transformers.ConvBertConfig(**settings)
    model = transformers.ConvBertForSequenceClassification(config)
    with np.load(work / "weights.npz") as arrays:
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    return model.eval()


def arguments(ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of transformers for ids [B, L], 0 is padding."""
    return dict(zip(INPUTS, (ids, (ids != 0).astype(np.int64), np.zeros_like(ids))))


def export(work: Path, config_json: str) -> None:
    """Write the ONNX file with dynamic batch and length, with torch's default exporter."""
    import torch

    ids = arguments(np.ones((2, 16), np.int64))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    torch.onnx.export(
        build(work, config_json),
        kwargs={name: torch.from_numpy(array) for name, array in ids.items()},
        f=str(work / "transformers.onnx"),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(INPUTS, axes),
        dynamo=True,
    )


def eager(work: Path, config_json: str) -> tuple[Run, dict[str, str]]:
    """Return the model in eager mode."""
    return torch_run(build(work, config_json))


def compiled(work: Path, config_json: str) -> tuple[Run, dict[str, str]]:
    """Return the model under torch.compile, compiled for each shape with frozen weights."""
    import torch

    torch._inductor.config.freezing = True
    torch._dynamo.config.recompile_limit = 100  # shapes
    return torch_run(torch.compile(build(work, config_json), dynamic=False))


def torch_run(model) -> tuple[Run, dict[str, str]]:
    """Return a function from ids to logits, and versions."""
    import torch
    import transformers

    def run(ids):
        with torch.no_grad():  # freezing does not work in inference mode
            inputs = {name: torch.from_numpy(array) for name, array in arguments(ids).items()}
            return model(**inputs).logits.numpy()

    return run, {"torch": torch.__version__, "transformers": transformers.__version__}


def onnxruntime(work: Path, config_json: str) -> tuple[Run, dict[str, str]]:
    """Return ONNX Runtime on the exported file."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = str(work / "transformers.onnx")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]  # the exporter drops unused ones

    def run(ids):
        inputs = arguments(ids)
        return session.run(["logits"], {name: inputs[name] for name in names})[0]

    return run, {"onnxruntime": ort.__version__}


def openvino(work: Path, config_json: str) -> tuple[Run, dict[str, str]]:
    """Return OpenVINO on the same file."""
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": CORES,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = ov.Core().compile_model(str(work / "transformers.onnx"), "CPU", settings)
    names = [entry.get_any_name() for entry in model.inputs]
    request = model.create_infer_request()

    def run(ids):
        inputs = arguments(ids)
        return request.infer({name: inputs[name] for name in names})[0].copy()

    return run, {"openvino": ov.__version__.split("-")[0]}


PEERS = {"torch": eager, "compiled": compiled, "onnxruntime": onnxruntime, "openvino": openvino}


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    if action == "export":
        export(Path(place), text)
    else:
        answer_batches(*PEERS[action](Path(place), text))
