"""Check the weights of an exported model for NaN and infinity.

Running the model would not show a bad word embedding until a text uses that word, so the files
themselves are read.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np

from convbert.inference.protobuf import Field, build_messages
from paddlenlp.utils.errors import UserError

# The number of a type in framework.proto, and its name in NumPy, which does not have bfloat16.
_DTYPES = {
    0: "bool",
    1: "int16",
    2: "int32",
    3: "int64",
    4: "float16",
    5: "float32",
    6: "float64",
    20: "uint8",
    21: "int8",
    22: "bfloat16",
}
_LONGEST_DESC = 1 << 16  # bytes


def check_finite(path: str, arrays: Iterable[np.ndarray] | None = None) -> None:
    """Raise `UserError` if weights contain NaN or infinity.

    Args:
        path: the file of the weights.
        arrays: the weights; None: those of an ``inference.pdiparams``. If the file is damaged, only
            those before the damage are checked: the engine refuses it later.
    """
    bad = 0
    with suppress(Exception):  # NumPy, struct and protobuf raise several types
        for array in paddle_weights(path) if arrays is None else arrays:
            bad += not _is_finite(array)
    if bad:
        raise UserError(
            "not-finite", f"{path} has NaN or infinity in {bad} tensors: export the model again"
        )


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype.kind != "f" or not array.size:
        return True
    return bool(np.isfinite([array.min(), array.max()]).all())  # both are NaN if a number is


def paddle_weights(path: str) -> Iterator[np.ndarray]:
    """Yield the tensors of an inference.pdiparams, flat; the file is mapped, not copied.

    The format is that of ``save_combine`` (paddle/fluid/framework/lod_tensor.cc): for each tensor a
    version, the number of its levels (0 for weights), a version, the size of a TensorDesc, this
    TensorDesc, and the numbers.
    """
    fields = {"data_type": Field(1, "int32"), "dims": Field(2, "int64", True)}
    tensor_desc = build_messages("paddle", "proto2", {"TensorDesc": fields})["TensorDesc"]
    header = struct.Struct("<IQII")
    data, at = np.memmap(path, np.uint8, "r"), 0
    while at < len(data):
        _, levels, _, size = header.unpack_from(data, at)
        if levels or size > _LONGEST_DESC:
            raise ValueError("not the weights of a model")
        start = at + header.size + size
        desc = tensor_desc.FromString(data[at + header.size : start].tobytes())
        dtype = _DTYPES[desc.data_type]
        bytes_each = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        at = start + math.prod(desc.dims) * bytes_each
        yield _numbers(data[start:at], dtype)


def _numbers(data: np.ndarray, dtype: str) -> np.ndarray:
    """Read numbers; a bfloat16 is the upper half of a float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype)
