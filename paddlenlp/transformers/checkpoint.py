"""The checkpoint format: a directory with a JSON configuration and a file of named weights."""

from __future__ import annotations

import json
import os
import pickle
from typing import Any, Dict, List, Mapping

import numpy as np

from paddlenlp.utils.errors import UserError

CONFIG_FILE = "model_config.json"
WEIGHTS_FILE = "model_state.pdparams"
# Paddle writes this table of internal names beside the weights.
_NAME_TABLE = "StructuredToParameterName@@"


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the pickles that ``paddle.save`` writes for a state dict, and nothing that runs code."""

    ALLOWED = {
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
    ARRAY_HELPERS = {"_reconstruct", "scalar", "_frombuffer"}
    ARRAY_MODULES = {
        f"numpy.{core}.{module}"
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
    }

    def find_class(self, module: str, name: str):
        helper = module in self.ARRAY_MODULES and name in self.ARRAY_HELPERS
        if helper or (module, name) in self.ALLOWED:
            if module.startswith("numpy.") and not module.startswith(_NUMPY_CORE):
                module = module.replace("numpy._core", _NUMPY_CORE, 1)
                module = module.replace("numpy.core", _NUMPY_CORE, 1)
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would load {module}.{name}")


_NUMPY_CORE = "numpy._core" if int(np.__version__.split(".")[0]) >= 2 else "numpy.core"


def read_json(path: str) -> Dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is missing, not UTF-8 JSON, or not an object.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): save the checkpoint again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: save the checkpoint again")
    return content


def require_files(directory: str, names: List[str], what: str) -> None:
    """Check a directory up front.

    Raises:
        UserError: the directory or some files are missing; all of them are named.
    """
    if not os.path.isdir(directory):
        raise UserError(f"{what} '{directory}' is not a directory")
    missing = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
    if missing:
        raise UserError(f"{what} '{directory}' lacks {', '.join(missing)}")


def read_weights(path: str) -> Dict[str, np.ndarray]:
    """Read a ``.pdparams`` file into arrays without running any code from it.

    Raises:
        UserError: the file is missing, truncated, or not a file of weights.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is damaged or no file of weights ({detail}): save or download it again"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no named weights")
    weights = {name: value for name, value in content.items() if name != _NAME_TABLE}
    wrong = [name for name, value in weights.items() if not isinstance(value, np.ndarray)]
    if wrong:
        raise UserError(f"{path} holds entries that are no arrays: {', '.join(wrong[:5])}")
    return weights


def shorten(names: List[str], most: int = 6) -> str:
    """Join names for a one-line message, counting those left out."""
    listed = ", ".join(sorted(names)[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
