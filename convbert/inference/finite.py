"""Check the weights of an exported model for NaN and infinity.

Running the model would not show a bad word embedding until a text uses that word.
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache

import numpy as np

from convbert.inference.program import DTYPES, messages
from paddlenlp.utils.errors import UserError

_ONNX_DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}


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
    """Yield the tensors of an inference.pdiparams, flat and mapped into memory.

    The format is that of ``save_combine`` (paddle/fluid/framework/lod_tensor.cc): for each tensor a
    version, the number of its levels (0 for weights), a version, the size of a TensorDesc, this
    TensorDesc, and the numbers.
    """
    header = struct.Struct("<IQII")
    data, at = np.memmap(path, np.uint8, "r"), 0
    while at < len(data):
        _, levels, _, size = header.unpack_from(data, at)
        start = at + header.size + size
        desc = messages()["TensorDesc"].FromString(data[at + header.size : start].tobytes())
        if levels or min(desc.dims, default=0) < 0:
            raise ValueError("not the weights of a model")
        dtype = DTYPES[desc.data_type]
        bytes_each = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        at = start + math.prod(desc.dims) * bytes_each
        yield _numbers(data[start:at], dtype)


def _numbers(data: bytes | np.ndarray, dtype: str) -> np.ndarray:
    """Read numbers; a bfloat16, which NumPy does not have, is the upper half of a float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype)


def onnx_weights(path: str) -> Iterator[np.ndarray]:
    """Yield the floating-point tensors of an ONNX file, and of the files beside it, flat."""
    with open(path, "rb") as file:
        graph = onnx_message().FromString(file.read()).graph
    attributes = (attribute for node in graph.node for attribute in node.attribute)
    for tensor in (*graph.initializer, *(attribute.t for attribute in attributes)):
        dtype = _ONNX_DTYPES.get(tensor.data_type)
        outside = {pair.key: pair.value for pair in tensor.external_data}
        if dtype is None:
            continue
        if outside:
            beside = np.memmap(
                os.path.join(os.path.dirname(path), outside["location"]), np.uint8, "r"
            )
            start = int(outside.get("offset", 0))
            yield _numbers(beside[start:][: int(outside.get("length", len(beside)))], dtype)
        yield _numbers(tensor.raw_data, dtype)
        yield np.array(tensor.float_data)
        yield np.array(tensor.double_data)


@cache
def onnx_message() -> type:
    """The fields of onnx.proto that are read here."""
    from convbert.inference.protobuf import Field, build_messages

    tables = {
        "Model": {"graph": Field(7, "Graph")},
        "Graph": {"node": Field(1, "Node", True), "initializer": Field(5, "Tensor", True)},
        "Node": {"attribute": Field(5, "Attribute", True)},
        "Attribute": {"t": Field(5, "Tensor")},
        "Tensor": {
            "data_type": Field(2, "int32"),
            "float_data": Field(4, "float", True),
            "raw_data": Field(9, "bytes"),
            "double_data": Field(10, "double", True),
            "external_data": Field(13, "Pair", True),
        },
        "Pair": {"key": Field(1, "string"), "value": Field(2, "string")},
    }
    return build_messages("onnx", "proto2", tables)["Model"]
