"""Check an exported model of any engine for weights that are NaN or infinity.

Running the model would not show a bad word embedding until a text uses that word, so the files
themselves are read. They are mapped and read in pieces: the weights are not in memory twice.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from convbert.inference.program import PROTO_DTYPES
from paddlenlp.utils.errors import UserError

_PIECE = 1 << 18  # numbers: few enough for a processor's cache
_BRAIN_FLOAT = "bfloat16"  # the upper half of a float32; NumPy does not have it
_FLOATS = {"float16": "<f2", "float32": "<f4", "float64": "<f8", _BRAIN_FLOAT: "<u2"}
_OPENVINO_DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": _BRAIN_FLOAT}
_ONNX_DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: _BRAIN_FLOAT}
# Places in an ONNX file, as field numbers (onnx.proto): the initializers of the graph, and the
# values of its constants. In a tensor: data_type, the three fields of numbers, the key-value pairs
# that name another file.
_ONNX_TENSORS = ((7, 5), (7, 1, 5, 5))
_ONNX_TYPE, _ONNX_NUMBERS, _ONNX_OUTSIDE = 2, (4, 9, 10), 13
_FIXED = {1: 8, 5: 4}  # bytes of a value by its wire type
_LONGEST_DESC = 1 << 16  # bytes

Tensor = tuple[str | None, memoryview]  # the name of its NumPy type, and its bytes in the file


def check_finite(path: str, form: str | None = None) -> None:
    """Raise `UserError` if a weight file contains NaN or infinity.

    Args:
        path: of the weights; those of OpenVINO have their .xml beside them.
        form: ".pdiparams", ".bin" (OpenVINO) or ".onnx"; None: taken from the name of the file.
    """
    bad = non_finite_tensors(path, form)
    if bad:
        raise UserError(
            "not-finite", f"{path} has NaN or infinity in {bad} tensors: export the model again"
        )


def non_finite_tensors(path: str, form: str | None = None) -> int:
    """Count the tensors of a weight file that contain NaN or infinity; see `check_finite`.

    A file in another format counts as 0: the engine refuses it later.
    """
    tensors = {".bin": _openvino_tensors, ".onnx": _onnx_tensors}
    read, found = tensors.get(form or os.path.splitext(path)[1], _paddle_tensors), 0
    with suppress(Exception):  # NumPy, struct and the XML parser raise several types
        for dtype, data in read(path):
            found += not _is_finite(dtype, data)
    return found


def _is_finite(dtype: str | None, data: memoryview) -> bool:
    if dtype not in _FLOATS:
        return True
    numbers = np.frombuffer(data, _FLOATS[dtype])
    for start in range(0, len(numbers), _PIECE):
        piece = numbers[start : start + _PIECE]
        if dtype == _BRAIN_FLOAT:
            piece = (piece.astype("<u4") << 16).view("<f4")
        if not np.isfinite(piece).all():
            return False
    return True


def _map(path: str) -> memoryview:
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _paddle_tensors(path: str) -> Iterator[Tensor]:
    """Read an inference.pdiparams.

    Each tensor is a version, its levels, a version, a TensorDesc and the numbers, as
    ``save_combine`` writes them (paddle/fluid/framework/lod_tensor.cc).
    """
    data, at = _map(path), 0
    while at < len(data):
        (levels,) = struct.unpack_from("<Q", data, at + 4)
        at += 12
        for _ in range(levels):
            at += 8 + struct.unpack_from("<Q", data, at)[0]
        (size,) = struct.unpack_from("<I", data, at + 4)
        at += 8
        desc = list(_fields(data[at : at + min(size, _LONGEST_DESC)]))
        dtype = PROTO_DTYPES[next(value for number, value in desc if number == 1)]
        count = math.prod(value for number, value in desc if number == 2)
        at += size
        size = count * (2 if dtype == _BRAIN_FLOAT else np.dtype(dtype).itemsize)
        yield dtype, data[at : at + size]
        at += size


def _openvino_tensors(path: str) -> Iterator[Tensor]:
    """Read an inference.bin; the constants in the .xml give the place of each tensor."""
    from xml.etree import ElementTree  # for the models that need it only

    data = _map(path)
    for _, element in ElementTree.iterparse(os.path.splitext(path)[0] + ".xml"):
        place = element.attrib
        if element.tag == "data" and {"element_type", "offset", "size"} <= place.keys():
            start = int(place["offset"])
            numbers = data[start : start + int(place["size"])]
            yield _OPENVINO_DTYPES.get(place["element_type"]), numbers


def _onnx_tensors(path: str) -> Iterator[Tensor]:
    """Read an ONNX file, and the files beside it that contain some of its weights."""
    data = _map(path)
    for tensor in (found for place in _ONNX_TENSORS for found in _nested(data, place)):
        kind = next((value for number, value in _fields(tensor) if number == _ONNX_TYPE), 0)
        numbers = (value for number, value in _fields(tensor) if number in _ONNX_NUMBERS)
        pairs = (dict(_fields(pair)) for pair in _nested(tensor, (_ONNX_OUTSIDE,)))
        outside = {bytes(pair[1]): bytes(pair[2]) for pair in pairs}
        if outside:
            other = _map(os.path.join(os.path.dirname(path), outside[b"location"].decode()))
            start = int(outside.get(b"offset", 0))
            size = int(outside.get(b"length", len(other)))
            numbers = [other[start : start + size]]
        for part in numbers:
            yield _ONNX_DTYPES.get(kind), part


def _nested(message: memoryview, place: tuple[int, ...]) -> Iterator[memoryview]:
    """Yield the messages at a place: field numbers from the outermost to the innermost."""
    for number, value in _fields(message):
        if number == place[0]:
            yield from _nested(value, place[1:]) if place[1:] else (value,)


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
