"""Paddle Serving's protobuf messages: pipeline_service.proto and general_model_config.proto."""

from __future__ import annotations

from convbert.inference.protobuf import Field, build_messages

PIPELINE_PACKAGE = "baidu.paddle_serving.pipeline_serving"
CONFIG_PACKAGE = "baidu.paddle_serving.configure"
INFERENCE_METHOD = f"/{PIPELINE_PACKAGE}.PipelineService/inference"

_PIPELINE_MESSAGES = {
    "Tensor": {
        "int64_data": Field(1, "int64", True),
        "float_data": Field(2, "float", True),
        "int_data": Field(3, "int32", True),
        "float64_data": Field(4, "double", True),
        "uint32_data": Field(5, "uint32", True),
        "bool_data": Field(6, "bool", True),
        "complex64_data": Field(7, "float", True),
        "complex128_data": Field(8, "double", True),
        "str_data": Field(9, "string", True),
        "byte_data": Field(10, "bytes"),
        "elem_type": Field(20, "int32"),
        "shape": Field(21, "int32", True),
        "lod": Field(22, "int32", True),
        "name": Field(23, "string"),
    },
    "Request": {
        "key": Field(1, "string", True),
        "value": Field(2, "string", True),
        "tensors": Field(3, "Tensor", True),
        "name": Field(4, "string"),
        "method": Field(5, "string"),
        "logid": Field(6, "int64"),
        "clientip": Field(7, "string"),
    },
    "Response": {
        "err_no": Field(1, "int32"),
        "err_msg": Field(2, "string"),
        "key": Field(3, "string", True),
        "value": Field(4, "string", True),
        "tensors": Field(5, "Tensor", True),
    },
}


def _variable(type_field: str) -> dict[str, Field]:
    return {
        "name": Field(1, "string"),
        "alias_name": Field(2, "string"),
        "is_lod_tensor": Field(3, "bool", default="false"),
        type_field: Field(4, "int32", default="0"),
        "shape": Field(5, "int32", True),
    }


_CONFIG_MESSAGES = {
    "FeedVar": _variable("feed_type"),
    "FetchVar": _variable("fetch_type"),
    "GeneralModelConfig": {
        "feed_var": Field(1, "FeedVar", True),
        "fetch_var": Field(2, "FetchVar", True),
    },
}


_pipeline = build_messages(PIPELINE_PACKAGE, "proto3", _PIPELINE_MESSAGES)
_config = build_messages(CONFIG_PACKAGE, "proto2", _CONFIG_MESSAGES)

Request = _pipeline["Request"]
Response = _pipeline["Response"]
Tensor = _pipeline["Tensor"]
GeneralModelConfig = _config["GeneralModelConfig"]
