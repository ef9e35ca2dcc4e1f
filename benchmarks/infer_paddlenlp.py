"""PaddleNLP's own ConvBERT as a peer of bench_inference.py, exported as its users would.

    infer_paddlenlp.py export WORK CONFIG_JSON   write WORK/paddlenlp/inference.pdmodel
    infer_paddlenlp.py plain|onednn WORK CONFIG_JSON   answer requests with Paddle Inference

The repository's root stays off sys.path: its paddlenlp would be taken for PaddleNLP.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from sides import answer_runs

CORES = len(os.sched_getaffinity(0))
SPELLING = {"num_classes": "num_labels"}  # ours -> theirs
POOLER = "convbert.pooler."


def export(work: Path, config_json: str) -> None:
    """Build the classifier, give it the weights of all sides, write the program."""
    import pyarrow  # noqa: F401  # before paddle: their zlibs clash
    import paddle  # isort: skip
    from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification

    settings = {SPELLING.get(k, k): v for k, v in json.loads(config_json).items()}
    model = ConvBertForSequenceClassification(ConvBertConfig(**settings))
    load(model, work / "weights_paddle.npz")
    pass_through(model.convbert.pooler)
    model.eval()
    spec = [paddle.static.InputSpec([None, None], "int64") for _ in range(2)]
    paddle.jit.save(
        paddle.jit.to_static(model, input_spec=spec), str(work / "paddlenlp" / "inference")
    )


def pass_through(pooler) -> None:
    """Let the pooler change nothing: the published model and transformers have no such layer."""
    import paddle

    pooler.dense.weight.set_value(paddle.eye(pooler.dense.weight.shape[0]))
    pooler.dense.bias.set_value(paddle.zeros_like(pooler.dense.bias))
    pooler.activation = paddle.nn.Identity()


def load(model, path: Path) -> None:
    """Fill every parameter but the pooler's; the names are the same on both sides.

    Raises:
        RuntimeError: a name or a shape differs.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    state = model.state_dict().items()
    expected = {name: tuple(value.shape) for name, value in state if not name.startswith(POOLER)}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))
        raise RuntimeError(f"PaddleNLP's parameters differ from ours: {odd[:4]}")
    model.set_state_dict(arrays)


def serve(work: Path, onednn: bool) -> None:
    """Answer requests with Paddle Inference on all cores."""
    import paddle
    from paddle import inference

    config = inference.Config(
        str(work / "paddlenlp" / "inference.pdmodel"),
        str(work / "paddlenlp" / "inference.pdiparams"),
    )
    config.disable_glog_info()
    config.disable_gpu()
    config.enable_memory_optim()
    config.set_cpu_math_library_num_threads(CORES)
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()  # it would be used unasked
    predictor = inference.create_predictor(config)
    inputs = [predictor.get_input_handle(name) for name in predictor.get_input_names()]
    output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(ids):
        for handle, array in zip(inputs, (ids, np.zeros_like(ids))):
            handle.copy_from_cpu(array)
        predictor.run()
        return output.copy_to_cpu()

    answer_runs(run, {"paddle": paddle.__version__})


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    if action == "export":
        export(Path(place), text)
    else:
        serve(Path(place), action == "onednn")
