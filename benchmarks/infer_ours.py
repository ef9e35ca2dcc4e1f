"""Our sides of bench_inference.py: this repository's export, and the nine-slice design.

infer_ours.py prepare WORK CONFIG_JSON    write the weights of all sides, export both designs
infer_ours.py serve WORK/ours ENGINE_JSON answer requests with Paddle Inference
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_runs
from convbert.command.machine import set_cpu_environment

HEAD = "ConvBertForSequenceClassification"
# side -> directory of its program, how it is run
SIDES = {
    "onednn": ("ours", {"use_mkldnn": True}),
    "nine_slices": ("nine_slices", {"use_mkldnn": False}),
    "nine_slices_as_ported": ("nine_slices", {"use_mkldnn": False}),
}


def prepare(work: Path, config_json: str) -> None:
    """Write one set of random weights under both sides' names, then both programs."""
    import paddle

    from alignment.cases import random_weights
    from benchmarks.nine_slices import nine_slice_design
    from convbert.inference.export import save_program
    from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification
    from paddlenlp.transformers.convbert.weight_names import to_hf, to_paddle

    config = ConvBertConfig(**json.loads(config_json))
    model = ConvBertForSequenceClassification(config)
    model.eval()
    empty = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shapes = {name: array.shape for name, array in to_hf(empty, config, HEAD).items()}
    weights = random_weights(shapes)
    ours = to_paddle(weights, config, HEAD, {})
    model.set_state_dict({name: paddle.to_tensor(array) for name, array in ours.items()})
    np.savez(work / "weights_hf.npz", **weights)
    np.savez(work / "weights_paddle.npz", **ours)
    save_program(model, str(work / "ours" / "inference"))
    with nine_slice_design():
        save_program(model, str(work / "nine_slices" / "inference"))


def serve(side: str, work: Path) -> None:
    """Open an exported directory and answer requests."""
    import paddle

    from convbert.inference.engines.paddle_inference import EngineOptions, Predictor

    directory, options = SIDES[side]
    predictor = Predictor(str(work / directory), EngineOptions(**options))
    answer_runs(lambda ids: predictor.run(ids, np.zeros_like(ids)), {"paddle": paddle.__version__})


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    if action != "nine_slices_as_ported":  # the port set nothing but the number of threads
        set_cpu_environment()
    if action == "prepare":
        prepare(Path(place), text)
    else:
        serve(action, Path(place))
