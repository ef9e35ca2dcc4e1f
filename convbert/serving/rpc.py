"""Paddle Serving's gRPC messages, and how to call the pipeline.

Used by the supervisor, the HTTP front end and the gRPC client. The messages are those of
pipeline_service.proto, whose generated module would import half of Paddle Serving. The field for
tensors is left out, because the service rejects them.
"""

from __future__ import annotations

from collections.abc import Sequence

from convbert.inference.protobuf import Field, build_messages
from convbert.serving.protocol import SERVICE_NAME, TEXT_KEY

PACKAGE = "baidu.paddle_serving.pipeline_serving"
INFERENCE_METHOD = f"/{PACKAGE}.PipelineService/inference"
_MESSAGES = build_messages(
    PACKAGE,
    "proto3",
    {
        "Request": {
            "key": Field(1, "string", True),
            "value": Field(2, "string", True),
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
        },
    },
)
Request, Response = _MESSAGES["Request"], _MESSAGES["Response"]

# gRPC's own pauses between connection attempts grow to two minutes; a restart takes seconds.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A separate connection, without the process-wide pool or a proxy from the environment.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 2**28),  # the largest max_body_bytes
)


def request_message(keys: Sequence[str], values: Sequence[str], log_id: int = 0):
    """Return a Request message."""
    return Request(key=keys, value=values, logid=log_id, name=SERVICE_NAME, method="prediction")


def text_message(text: str, log_id: int = 0):
    """Return the Request message of one text."""
    return request_message([TEXT_KEY], [text], log_id)


def unary_call(channel):
    """Return the pipeline's one method as a function of a Request message and a timeout."""
    return channel.unary_unary(INFERENCE_METHOD, Request.SerializeToString, Response.FromString)
