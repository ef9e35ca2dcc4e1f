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

from paddlenlp.transformers.checkpoint import read_json, read_weights, require_files
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory, verify

WEIGHTS_FILE = "model_state.pdparams"
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
    arrays = read_weights(str(directory / OPTIMIZER_FILE))
    schedule.step(progress["step"])
    set_optimizer_arrays(optimizer, schedule, model, arrays)
    return progress


def optimizer_arrays(optimizer, model) -> dict[str, np.ndarray]:
    """Return the optimizer's moments as ``{parameter name}@{moment}``.

    Paddle names them after internal counters, which differ from process to process.
    """
    names = {parameter.name: name for name, parameter in model.named_parameters()}
    arrays = {}
    for key, value in optimizer.state_dict().items():
        owner = max((n for n in names if key.startswith(n + "_")), key=len, default=None)
        if owner is not None:
            arrays[f"{names[owner]}@{key[len(owner) + 1 :]}"] = np.asarray(value)
    return arrays


def set_optimizer_arrays(optimizer, schedule, model, arrays: dict[str, np.ndarray]) -> None:
    """Restore what `optimizer_arrays` returned; ``schedule`` is already at the right step.

    Raises:
        UserError: moments are missing or left over.
    """
    names = {name: parameter.name for name, parameter in model.named_parameters()}
    owners = {key: key.split("@")[0] for key in arrays}
    unmatched = sorted(set(owners.values()) ^ set(names))
    if unmatched:
        raise UserError(
            "resume", f"the saved optimizer does not fit the model at parameter {unmatched[0]}"
        )
    state = {
        f"{names[owners[key]]}_{key.split('@')[1]}": paddle.to_tensor(value)
        for key, value in arrays.items()
    }
    optimizer.set_state_dict({**state, "LR_Scheduler": schedule.state_dict()})
