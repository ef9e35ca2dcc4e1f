"""The checkpoint format: a directory with a JSON configuration and a file of named weights.

Paddle is never imported here.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paddlenlp.utils import pickled_arrays
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import file_error
from paddlenlp.utils.parsing import read_json_file

CONFIG_FILE = "model_config.json"
WEIGHTS_FILE = "model_state.pdparams"
# The layouts of transformers and of newer PaddleNLP, which are read as well.
HF_CONFIG_FILE = "config.json"
HF_WEIGHTS_FILE = "model.safetensors"
HF_TORCH_FILE = "pytorch_model.bin"
INDEX = ".index.json"  # after either name: the list of the shards
HF_TOKENIZER_FILE = "tokenizer.json"
VOCAB_FILE = "vocab.txt"
# Files that LoRA and similar methods of both libraries save with a model or instead of it.
ADAPTER_FILES = {"adapter_config.json", "lora_config.json", "prefix_config.json"}
# Names of types in safetensors -> in NumPy, which has no bfloat16: uint16, as Paddle stores it.
_SAFETENSORS_TYPES = {
    "BOOL": "?",
    "BF16": "u2",
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "I8": "i1",
    "I16": "i2",
    "I32": "i4",
    "I64": "i8",
    "U8": "u1",
    "U16": "u2",
    "U32": "u4",
    "U64": "u8",
}
# Paddle writes this table of internal names beside the weights.
_NAME_TABLE = "StructuredToParameterName@@"


def read_json(path: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is missing, not UTF-8 JSON, or not an object.
    """
    try:
        content, problem = read_json_file(path), "not a JSON object"
    except OSError as error:
        raise file_error(error) from None
    except ValueError as error:
        content, problem = None, f"not JSON ({error})"
    if not isinstance(content, dict):
        raise UserError("file-damaged", f"{path} is {problem}: save the checkpoint again")
    return content


def read_model_config(path: str) -> dict[str, Any]:
    """Read the JSON configuration of a ConvBERT, in any layout.

    Raises:
        UserError: as for `read_json`, or it is the configuration of another kind of model.
    """
    raw = read_json(path)
    classes = raw.get("architectures") or []
    names = [raw.get("model_type"), raw.get("architecture"), raw.get("init_class")]
    names += classes[:1] if isinstance(classes, list) else [classes]
    other = [name for name in names if name and not str(name).lower().startswith("convbert")]
    if other:
        message = f"{path} describes a model of type '{other[0]}': only ConvBERT is read"
        raise UserError("checkpoint", message)
    return raw


def require_files(directory: str, names: list[str], what: str) -> None:
    """Check that a directory and its files exist.

    Raises:
        UserError: the directory or some files are missing; all of them are named.
    """
    if not os.path.isdir(directory):
        raise UserError("file-missing", f"{what} '{directory}' is not a directory")
    missing = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
    if missing:
        raise UserError("checkpoint", f"{what} '{directory}' has no {', '.join(missing)}")


def find_files(directory: str, config_optional: bool = False) -> tuple[str | None, str]:
    """Return the names of a checkpoint's configuration and weights.

    All layouts are accepted, in any combination: ours, PaddleNLP's old and new ones, and
    transformers'. The names of the tensors decide what the weights are.

    Args:
        directory: the checkpoint.
        config_optional: the configuration may be missing (for a published size); it is then None.

    Raises:
        UserError: no directory, files are missing (named), or it is an adapter without its model.
    """
    if not os.path.isdir(directory):
        raise UserError("file-missing", f"checkpoint '{directory}' is not a directory")
    present = set(os.listdir(directory))
    wholes = (WEIGHTS_FILE, HF_WEIGHTS_FILE, HF_TORCH_FILE)
    weights = [name for whole in wholes for name in (whole, whole + INDEX) if name in present]
    configs = [name for name in (CONFIG_FILE, HF_CONFIG_FILE) if name in present]
    adapter = sorted(present & ADAPTER_FILES)
    problem = None
    if adapter and not weights:
        problem = f"is an adapter ({adapter[0]}): merge it into its model and save the result"
    elif not weights and any(name.startswith("inference.") for name in present):
        problem = "is an exported model: give the checkpoint that it was made from"
    elif not weights:
        problem = f"has none of {', '.join(wholes)}: give a directory with such a file"
    elif not configs and not config_optional:
        problem = f"has no {CONFIG_FILE} or {HF_CONFIG_FILE}"
    if problem:
        raise UserError("checkpoint", f"checkpoint '{directory}' {problem}")
    return (configs[0] if configs else None), weights[0]


def read_weights(path: str) -> dict[str, np.ndarray]:
    """Read a file of weights into arrays without running any code from it.

    Args:
        path: ``.pdparams``, ``.safetensors``, ``.bin`` (which needs torch), or the ``.index.json``
            of shards of the last two types.

    Returns:
        Arrays by name; float16, float64 and bfloat16 become float32.

    Raises:
        UserError: the file is missing, truncated, or not a file of weights.
    """
    read = _READERS.get(os.path.splitext(path)[1], pickled_arrays.load_file)
    try:
        content = read(path)
    except UserError:
        raise
    except OSError as error:
        raise file_error(error) from None
    except Exception as error:  # a damaged file can raise nearly anything
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            "file-damaged",
            f"{path} is damaged or not a file of weights ({detail}): save or download it again",
        ) from None
    if not isinstance(content, Mapping):
        raise UserError("file-damaged", f"{path} does not contain named weights")
    weights = {name: value for name, value in content.items() if name != _NAME_TABLE}
    wrong = [str(name) for name, value in weights.items() if not isinstance(value, np.ndarray)]
    if wrong:
        raise UserError("file-damaged", f"{path} has entries without arrays: {shorten(wrong)}")
    return {name: _single_precision(value) for name, value in weights.items()}


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    from safetensors import deserialize  # NumPy's reader there fails for bfloat16

    with open(path, "rb") as file:
        tensors = deserialize(file.read())
    return {
        name: np.frombuffer(each["data"], _SAFETENSORS_TYPES[each["dtype"]]).reshape(each["shape"])
        for name, each in tensors
    }


def _read_torch(path: str) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        hint = f"install it, or save the checkpoint as {HF_WEIGHTS_FILE}"
        raise UserError("package-missing", f"{path} needs torch to be read: {hint}") from None
    content = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in content.items()
    }


def _read_shards(path: str) -> dict[str, np.ndarray]:
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(_SHARD.fullmatch(str(f)) for f in places.values()):
        message = f"{path} must name files of weights beside it for each tensor"
        raise UserError("file-damaged", f"{message}: save the checkpoint again")
    directory, files = os.path.dirname(path), sorted(set(places.values()))
    require_files(directory, files, "checkpoint")
    found: dict[str, np.ndarray] = {}
    for file in files:
        found.update(read_weights(os.path.join(directory, file)))
    lost = [name for name in places if name not in found]
    if lost:
        message = f"{path} lists tensors that are missing from the shards: {shorten(lost)}"
        raise UserError("file-damaged", f"{message}; save or download the checkpoint again")
    return found


# The plain name of a file of weights: no path, no index.
_SHARD = re.compile(r"[^/\\]+\.(safetensors|bin|pdparams)")
_READERS: dict[str, Callable[[str], Any]] = {
    ".safetensors": _read_safetensors,
    ".bin": _read_torch,
    ".json": _read_shards,
}


def _single_precision(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint16:  # bfloat16 is the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array


def shorten(names: list[str], most: int = 6) -> str:
    """Join names for a one-line message; names beyond ``most`` are counted."""
    listed = ", ".join(sorted(names)[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
