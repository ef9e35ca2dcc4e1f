"""Check the weights of an exported model for NaN and infinity.

Running the model would not show a bad word embedding until a text uses that word, so the files
themselves are read. They are mapped: the weights are not in memory twice.
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np

from paddlenlp.utils.errors import UserError

# Numbers of floating-point and other types: of Paddle (framework.proto), of ONNX (onnx.proto).
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
_ONNX_DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
# Places in an ONNX file, as field numbers (onnx.proto): the initializers of the graph, and the
# values of its constants. In a tensor: data_type, the three fields of numbers, the key-value pairs
# that name another file.
_ONNX_TENSORS = ((7, 5), (7, 1, 5, 5))
_ONNX_TYPE, _ONNX_NUMBERS, _ONNX_OUTSIDE = 2, (4, 9, 10), 13
_FIXED = {1: 8, 5: 4}  # bytes of a value by its wire type
_LONGEST_DESC = 1 << 16  # bytes


def check_finite(path: str, arrays: Iterable[np.ndarray] | None = None) -> None:
    """Raise `UserError` if weights contain NaN or infinity.

    Args:
        path: the file of the weights.
        arrays: the weights; None: those of an ``inference.pdiparams``. If the file is damaged, only
            those before the damage are checked: the engine refuses it later.
    """
    bad = 0
    with suppress(Exception):  # NumPy and struct raise several types
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
    """Yield the tensors of an inference.pdiparams, flat.

    The format is that of ``save_combine`` (paddle/fluid/framework/lod_tensor.cc): for each tensor a
    version, the number of its levels (0 for weights), a version, the size of a TensorDesc, this
    TensorDesc, and the numbers.
    """
    header = struct.Struct("<IQII")
    data, at = _map(path), 0
    while at < len(data):
        _, levels, _, size = header.unpack_from(data, at)
        if levels or size > _LONGEST_DESC:
            raise ValueError("not the weights of a model")
        start = at + header.size + size
        desc = data[at + header.size : start]
        dtype = _DTYPES[next(_values(desc, 1))]
        bytes_each = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        at = start + math.prod(_values(desc, 2)) * bytes_each
        yield _numbers(data[start:at], dtype)


def onnx_weights(path: str) -> Iterator[np.ndarray]:
    """Yield the floating-point tensors of an ONNX file, and of the files beside it, flat."""
    data = _map(path)
    tensors = [tensor for place in _ONNX_TENSORS for tensor in _values(data, *place)]
    for tensor in tensors:
        dtype = _ONNX_DTYPES.get(next(_values(tensor, _ONNX_TYPE), 0))
        parts = [part for number in _ONNX_NUMBERS for part in _values(tensor, number)]
        pairs = (dict(_fields(pair)) for pair in _values(tensor, _ONNX_OUTSIDE))
        outside = {bytes(pair[1]): bytes(pair[2]) for pair in pairs}
        if outside:
            other = _map(os.path.join(os.path.dirname(path), outside[b"location"].decode()))
            start = int(outside.get(b"offset", 0))
            parts = [other[start : start + int(outside.get(b"length", len(other)))]]
        if dtype:
            yield from (_numbers(part, dtype) for part in parts)


def _map(path: str) -> memoryview:
    return memoryview(np.memmap(path, np.uint8, "r"))


def _numbers(data: memoryview, dtype: str) -> np.ndarray:
    """Read numbers; a bfloat16, which NumPy does not have, is the upper half of a float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype)


def _values(message: memoryview, number: int, *inner: int) -> Iterator[int | memoryview]:
    """Yield the values of a field of a protobuf message, or of a field in its messages."""
    for found, value in _fields(message):
        if found == number:
            yield from _values(value, *inner) if inner else (value,)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a protobuf message: its number, and its integer or its bytes.

    Written here because a protobuf library would copy the whole message, with the weights.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size, at = (_FIXED[key & 7], at) if key & 7 in _FIXED else _varint(message, at)
            value = message[at : at + size]
            at += size
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the integer at a place, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte, at = message[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("an integer of more than 64 bits")
