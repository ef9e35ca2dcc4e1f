"""Peers of bench_inference.py on PyTorch: transformers eager, and through ONNX on ONNX Runtime.

infer_torch.py export WORK CONFIG_JSON        write WORK/onnxruntime/model.onnx
infer_torch.py eager WORK CONFIG_JSON         answer requests with the model itself
infer_torch.py onnxruntime WORK CONFIG_JSON   answer requests with ONNX Runtime
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_runs

CORES = len(os.sched_getaffinity(0))
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def build(work: Path, config_json: str):
    """The classifier of transformers with the weights of all sides."""
    import torch
    import transformers

    torch.set_num_threads(CORES)
    settings = json.loads(config_json)
    settings["num_labels"] = settings.pop("num_classes")
    config = transformers.ConvBertConfig(**settings)
    model = transformers.ConvBertForSequenceClassification(config)
    with np.load(work / "weights_hf.npz") as arrays:
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
    return model.eval()


def arguments(ids):
    """What both peers take for ids [B, L] without padding."""
    return {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}


def export(work: Path, config_json: str) -> None:
    """Write the ONNX file with free batch and length, by torch's default exporter."""
    import torch

    model = build(work, config_json)
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    (work / "onnxruntime").mkdir(exist_ok=True)
    torch.onnx.export(
        model,
        kwargs=arguments(ids),
        f=str(work / "onnxruntime" / "model.onnx"),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(INPUTS, axes),
        dynamo=True,
    )


def eager(work: Path, config_json: str) -> None:
    """Answer requests with the model in eager mode."""
    import torch
    import transformers

    model = build(work, config_json)

    def run(ids):
        with torch.inference_mode():
            return model(**arguments(torch.from_numpy(ids))).logits.numpy()

    answer_runs(run, {"torch": torch.__version__, "transformers": transformers.__version__})


def onnxruntime(work: Path, config_json: str) -> None:
    """Answer requests with ONNX Runtime: all cores, all graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = str(work / "onnxruntime" / "model.onnx")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}  # the exporter drops what has no effect

    def run(ids):
        fed = {name: array for name, array in arguments(ids).items() if name in names}
        return session.run(["logits"], fed)[0]

    answer_runs(run, {"onnxruntime": ort.__version__})


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    {"export": export, "eager": eager, "onnxruntime": onnxruntime}[action](Path(place), text)
