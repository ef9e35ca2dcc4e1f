"""The full state of a training run, from which it continues as if it had never stopped.

Order, masks and dropout of step n are functions of the seed and n. So the state is the weights, the
optimizer, and a small JSON file with the progress and the settings that a resumed run must have
too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_json, read_weights, require_files
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory, verify

OPTIMIZER_FILE = "optimizer.pdparams"
PROGRESS_FILE = "progress.json"


def write_state(
    directory: Path, parts: dict[str, Any], model, tokenizer, optimizer, progress: dict[str, Any]
) -> None:
    """Write a state atomically.

    Args:
        directory: replaced as a whole.
        parts: folder name to model; each is written as a separate checkpoint.
        model: the model whose parameters the optimizer changes.
        tokenizer: saved beside each part.
        optimizer: its moments are saved.
        progress: JSON values, including the number of optimizer steps as "step".
    """
    with product_directory(directory, "training state") as work:
        for name, part in parts.items():
            part.save_pretrained(str(work / name))
            tokenizer.save_pretrained(work / name)
        paddle.save(optimizer_arrays(optimizer, model), str(work / OPTIMIZER_FILE))
        (work / PROGRESS_FILE).write_text(json.dumps(progress, indent=2) + "\n")


def read_state(
    directory: Path, parts: dict[str, Any], model, optimizer, schedule, expected: dict[str, Any]
) -> dict[str, Any]:
    """Restore models, optimizer and schedule from a state; return its progress.

    Args:
        directory, parts, model, optimizer: as in `write_state`.
        schedule: the optimizer's learning-rate schedule.
        expected: values that the saved progress must equal.

    Raises:
        UserError: the state is missing or damaged, or a setting differs (named).
    """
    verify(directory)
    require_files(str(directory), [PROGRESS_FILE, OPTIMIZER_FILE], "saved state")
    progress = read_json(str(directory / PROGRESS_FILE))
    if type(progress.get("step")) is not int:
        raise UserError("resume", f"{directory / PROGRESS_FILE} has no step: delete this state")
    for name, value in expected.items():
        if progress.get(name) != value:
            raise UserError(
                "resume",
                f"the run in {directory} had {name} {progress.get(name)!r}, not {value!r}: resume "
                "it with the settings it started with, or give another --output_dir",
            )
    for name, part in parts.items():
        part.load_weights(read_weights(str(directory / name / WEIGHTS_FILE)), str(directory / name))
    schedule.step(progress["step"])
    moments = _moments(read_weights(str(directory / OPTIMIZER_FILE)), model)
    optimizer.set_state_dict({**moments, "LR_Scheduler": schedule.state_dict()})
    return progress


def optimizer_arrays(optimizer, model) -> dict[str, np.ndarray]:
    """Return the optimizer's moments as ``{parameter name}@{moment}``.

    Paddle names them ``{p}_{moment}``, where p contains a counter that differs from process to
    process.
    """
    state, arrays = optimizer.state_dict(), {}
    for name, parameter in model.named_parameters():
        start = f"{parameter.name}_"
        for key in state:
            if key.startswith(start):
                arrays[f"{name}@{key.removeprefix(start)}"] = np.asarray(state[key])
    return arrays


def _moments(arrays: dict[str, np.ndarray], model) -> dict[str, paddle.Tensor]:
    """Give the moments that `optimizer_arrays` returned their names in this process."""
    names = {name: parameter.name for name, parameter in model.named_parameters()}
    unmatched = sorted({key.partition("@")[0] for key in arrays} ^ set(names))
    if unmatched:
        raise UserError(
            "resume", f"the saved optimizer does not fit the model at parameter {unmatched[0]}"
        )
    state = {}
    for key, array in arrays.items():
        name, _, moment = key.partition("@")
        state[f"{names[name]}_{moment}"] = paddle.to_tensor(array)
    return state
