"""Our sides of the inference benchmarks: the exported model on each engine.

infer_ours.py prepare WORK CONFIG_JSON     write the weights of all sides, and our models
infer_ours.py SIDE WORK CONFIG_JSON        paddle, openvino, bf16 or int8: answer requests
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.models import export_random, quantize_random, random_classifier
from benchmarks.sides import answer_batches, memory_mb
from convbert.command.start import run_main, start_paddle
from convbert.inference.engines import EngineOptions, open_engine
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError

# side -> exported directory, engine, precision
SIDES = {
    "paddle": ("float", "paddle", "fp32"),
    "openvino": ("float", "openvino", "fp32"),
    "bf16": ("float", "openvino", "bf16"),
    "int8": ("int8", "openvino", "int8"),
}
CALIBRATION_TEXTS = 100


def prepare(work: Path, config_json: str) -> None:
    """Write random weights under transformers' names, and our models in float and int8."""
    start_paddle()
    config = ConvBertConfig(**json.loads(config_json))
    export_random(random_classifier(config, work / "weights.npz"), work / "float")
    quantize_random(work / "float", work / "int8", CALIBRATION_TEXTS)
    for side, (_, engine, _) in SIDES.items():
        if engine == "openvino":
            with suppress(UserError):  # a precision that this processor lacks
                open_side(side, work)  # compiles: the measured process starts from the cache


def open_side(side: str, work: Path):
    """Return the engine of a side."""
    directory, engine, precision = SIDES[side]
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # for compiled models
    return open_engine(str(work / directory), EngineOptions(engine=engine, precision=precision))


def serve(side: str, work: Path) -> None:
    """Open an exported model and answer requests."""
    engine = SIDES[side][1]
    if engine == "paddle":
        start_paddle()
    package = importlib.import_module(engine)
    before = memory_mb()["resident_mb"]
    run = open_side(side, work).run
    versions = {engine: package.__version__.split("-")[0]}
    answer_batches(lambda ids: run(ids, np.zeros_like(ids)), versions, before)


def main(argv: Sequence[str]) -> None:
    """Prepare, or run as a side."""
    action, work, config_json = argv
    if action == "prepare":
        prepare(Path(work), config_json)
    else:
        serve(action, Path(work))


if __name__ == "__main__":
    run_main(main)
