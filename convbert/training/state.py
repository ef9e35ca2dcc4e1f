"""The full state of a training run, from which it continues as if it had never stopped.

Order, masks and dropout of step n are functions of the seed and n. So the state is the weights, the
optimizer, and a small JSON file with the progress and the settings that a resumed run must have
too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_json, read_weights, require_files
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory, verify

OPTIMIZER_FILE = "optimizer.pdparams"
PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class State:
    """What is saved and restored together."""

    parts: dict[str, Any]  # folder name to model; each is written as a separate checkpoint
    model: Any  # the model whose parameters the optimizer changes
    tokenizer: Any  # saved beside each part
    optimizer: Any
    schedule: Any  # the optimizer's learning rate
    identity: dict[str, Any]  # settings and data that must be the same when a run is resumed

    def write(self, directory: Path, progress: dict[str, Any]) -> None:
        """Replace ``directory`` atomically; ``progress``: JSON values, the steps done as "step"."""
        with product_directory(directory, "training state") as work:
            for name, part in self.parts.items():
                part.save_pretrained(str(work / name))
                self.tokenizer.save_pretrained(work / name)
            paddle.save(optimizer_arrays(self.optimizer, self.model), str(work / OPTIMIZER_FILE))
            content = json.dumps({**progress, **self.identity}, indent=2)
            (work / PROGRESS_FILE).write_text(content + "\n")

    def read(self, directory: Path) -> dict[str, Any]:
        """Restore models, optimizer and schedule from a directory; return its progress.

        Raises:
            UserError: the state is missing or damaged, or a setting differs (named).
        """
        verify(directory)
        require_files(str(directory), [PROGRESS_FILE, OPTIMIZER_FILE], "saved state")
        progress = read_json(str(directory / PROGRESS_FILE))
        if type(progress.get("step")) is not int:
            raise UserError("resume", f"{directory / PROGRESS_FILE} has no step: delete this state")
        for name, value in self.identity.items():
            if progress.get(name, value) != value:  # an older state lacks flags that are new
                raise UserError(
                    "resume",
                    f"the run in {directory} had {name} {progress[name]!r}, not {value!r}: "
                    "resume it with the settings it started with, or give another --output_dir",
                )
        for name, part in self.parts.items():
            part.load_weights(
                read_weights(str(directory / name / WEIGHTS_FILE)), str(directory / name)
            )
        self.schedule.step(progress["step"])
        moments = paddle_names(read_weights(str(directory / OPTIMIZER_FILE)), self.model)
        self.optimizer.set_state_dict({**moments, "LR_Scheduler": self.schedule.state_dict()})
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


def paddle_names(arrays: dict[str, np.ndarray], model) -> dict[str, paddle.Tensor]:
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
