"""Paddle Serving's protobuf messages, built from tables.

The modules generated for Paddle Serving 0.9.0 need the pure-Python protobuf and import half the
server. These are the same messages (field names, numbers and types of pipeline_service.proto and
general_model_config.proto) for any protobuf from 3.20 on, in a descriptor pool of their own.
"""

from __future__ import annotations

from typing import Dict, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PIPELINE_PACKAGE = "baidu.paddle_serving.pipeline_serving"
CONFIG_PACKAGE = "baidu.paddle_serving.configure"
INFERENCE_METHOD = f"/{PIPELINE_PACKAGE}.PipelineService/inference"

_TYPES = descriptor_pb2.FieldDescriptorProto


class _Field(NamedTuple):
    number: int
    type: str  # a protobuf scalar, or the name of a message of the same package
    repeated: bool = False
    default: str = ""  # proto2 only


_PIPELINE_MESSAGES = {
    "Tensor": {
        "int64_data": _Field(1, "int64", True),
        "float_data": _Field(2, "float", True),
        "int_data": _Field(3, "int32", True),
        "float64_data": _Field(4, "double", True),
        "uint32_data": _Field(5, "uint32", True),
        "bool_data": _Field(6, "bool", True),
        "complex64_data": _Field(7, "float", True),
        "complex128_data": _Field(8, "double", True),
        "str_data": _Field(9, "string", True),
        "byte_data": _Field(10, "bytes"),
        "elem_type": _Field(20, "int32"),
        "shape": _Field(21, "int32", True),
        "lod": _Field(22, "int32", True),
        "name": _Field(23, "string"),
    },
    "Request": {
        "key": _Field(1, "string", True),
        "value": _Field(2, "string", True),
        "tensors": _Field(3, "Tensor", True),
        "name": _Field(4, "string"),
        "method": _Field(5, "string"),
        "logid": _Field(6, "int64"),
        "clientip": _Field(7, "string"),
    },
    "Response": {
        "err_no": _Field(1, "int32"),
        "err_msg": _Field(2, "string"),
        "key": _Field(3, "string", True),
        "value": _Field(4, "string", True),
        "tensors": _Field(5, "Tensor", True),
    },
}


def _variable(type_field: str) -> Dict[str, _Field]:
    return {
        "name": _Field(1, "string"),
        "alias_name": _Field(2, "string"),
        "is_lod_tensor": _Field(3, "bool", default="false"),
        type_field: _Field(4, "int32", default="0"),
        "shape": _Field(5, "int32", True),
    }


_CONFIG_MESSAGES = {
    "FeedVar": _variable("feed_type"),
    "FetchVar": _variable("fetch_type"),
    "GeneralModelConfig": {
        "feed_var": _Field(1, "FeedVar", True),
        "fetch_var": _Field(2, "FetchVar", True),
    },
}


def _build(package: str, syntax: str, tables: Dict[str, Dict[str, _Field]]) -> Dict[str, type]:
    """Return the message classes described by ``tables``, by name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.syntax = syntax
    for message_name, fields in tables.items():
        message = file.message_type.add(name=message_name)
        for name, field in fields.items():
            label = _TYPES.LABEL_REPEATED if field.repeated else _TYPES.LABEL_OPTIONAL
            entry = message.field.add(name=name, number=field.number, label=label)
            if field.type in tables:
                entry.type, entry.type_name = _TYPES.TYPE_MESSAGE, f".{package}.{field.type}"
            else:
                entry.type = _TYPES.Type.Value(f"TYPE_{field.type.upper()}")
            if field.default:
                entry.default_value = field.default
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: _message_class(pool, f"{package}.{name}") for name in tables}


def _message_class(pool: descriptor_pool.DescriptorPool, name: str) -> type:
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3.20


_pipeline = _build(PIPELINE_PACKAGE, "proto3", _PIPELINE_MESSAGES)
_config = _build(CONFIG_PACKAGE, "proto2", _CONFIG_MESSAGES)

Request = _pipeline["Request"]
Response = _pipeline["Response"]
Tensor = _pipeline["Tensor"]
GeneralModelConfig = _config["GeneralModelConfig"]
