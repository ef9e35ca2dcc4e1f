"""Our sides of the inference benchmarks: the exported program on each engine.

infer_ours.py prepare WORK CONFIG_JSON   write the weights of all sides, export the program
infer_ours.py SIDE WORK CONFIG_JSON      answer requests
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_batches, memory_mb
from convbert.command.start import start_paddle


def prepare(work: Path, config_json: str) -> None:
    """Write random weights under transformers' names and our exported program."""
    from alignment.ours import CLASSIFIER, random_model
    from convbert.inference.export import save_program
    from paddlenlp.transformers import ConvBertConfig
    from paddlenlp.transformers.convbert.weight_names import to_hf

    config = ConvBertConfig(**json.loads(config_json))
    model = random_model(config, CLASSIFIER)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(work / "weights.npz", **to_hf(arrays, config, CLASSIFIER))
    save_program(model, str(work / "ours" / "inference"))


def serve(work: Path) -> None:
    """Open the exported program and answer requests."""
    import paddle

    from convbert.inference.engines import open_engine

    before = memory_mb()["resident_mb"]
    predictor = open_engine(str(work / "ours"))
    versions = {"paddle": paddle.__version__}
    answer_batches(lambda ids: predictor.run(ids, np.zeros_like(ids)), versions, before)


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    start_paddle()
    if action == "prepare":
        prepare(Path(place), text)
    else:
        serve(Path(place))
