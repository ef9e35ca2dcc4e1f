"""The format of requests and answers, over HTTP and over gRPC.

A request is a pair of parallel lists. Each key is ``text``, or ``text_pair`` for the second
sentence of a pair, and may be repeated: ``{"key": ["text", "text"], "value": ["one", "two"]}``
asks for two answers.

The gRPC messages are those of pipeline_service.proto, whose generated module would import half of
Paddle Serving. The field for tensors is left out, because the service rejects them.
"""

import json
from collections.abc import Sequence
from enum import Enum, IntEnum

import numpy as np

from convbert.inference.protobuf import Field, build_messages
from convbert.text.processing import Prediction

SERVICE_NAME = "convbert"
TEXT_KEY, PAIR_KEY = "text", "text_pair"
TENSORS_REFUSED = "tensors are not accepted: send the text in key and value"

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


class ErrNo(IntEnum):
    """``err_no`` of an answer: Paddle Serving's numbers (error_catch.py), plus BUSY."""

    OK = 0
    STOPPED = 3001
    NO_SERVICE = 3002
    BUSY = 3010
    BAD_REQUEST = 5000
    TIMEOUT = 6000
    INTERNAL = 10000


HTTP_STATUS = {
    ErrNo.OK: 200,
    ErrNo.STOPPED: 503,
    ErrNo.NO_SERVICE: 404,
    ErrNo.BUSY: 503,
    ErrNo.BAD_REQUEST: 400,
    ErrNo.TIMEOUT: 504,
    ErrNo.INTERNAL: 500,
}


class State(str, Enum):
    """The state of the service, as GET /health shows it."""

    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"  # requests are still sent to the pipeline
    RESTARTING = "restarting"
    STOPPING = "stopping"


class RequestError(Exception):
    """An error answer to a request: a message for the client, ``err_no``, an HTTP status.

    The defaults are those of an invalid request, which the client must correct.
    """

    def __init__(self, message: str, err_no: ErrNo = ErrNo.BAD_REQUEST, status: int | None = None):
        super().__init__(message)
        self.err_no = err_no
        self.status = status or HTTP_STATUS[err_no]


def texts_of(
    keys: Sequence[str], values: Sequence[str], max_texts: int, max_text_chars: int
) -> list[str | tuple[str, str]]:
    """Return the sentences, or (sentence, sentence) pairs, of a request.

    The tokenizer checks later whether a text has words.

    Raises:
        RequestError: the lists differ in length, a key is unknown, there is no text, there are too
            many, one is too long, or a pair has only one sentence.
    """
    if len(keys) != len(values):
        raise RequestError(f"'key' has {len(keys)} entries but 'value' has {len(values)}")
    columns: dict[str, list[str]] = {TEXT_KEY: [], PAIR_KEY: []}
    for key, value in zip(keys, values):
        if key not in columns:
            raise RequestError(f"unknown key {key[:40]!r}: send '{TEXT_KEY}'")
        columns[key].append(value)
    texts, pairs = columns[TEXT_KEY], columns[PAIR_KEY]
    if not texts:
        raise RequestError(f"no text: send key ['{TEXT_KEY}'] and its value")
    if len(texts) > max_texts:
        raise RequestError(f"{len(texts)} texts are more than {max_texts}: send fewer")
    if pairs and len(pairs) != len(texts):
        raise RequestError(f"{len(texts)} '{TEXT_KEY}' but {len(pairs)} '{PAIR_KEY}': send as many")
    longest = max(map(len, values))
    if longest > max_text_chars:
        raise RequestError(f"a text has {longest} characters, more than {max_text_chars}")
    return list(zip(texts, pairs)) if pairs else texts


def answer(
    err_no: int = 0, err_msg: str = "", key: Sequence[str] = (), value: Sequence[str] = ()
) -> dict:
    """Return an answer in Paddle Serving's JSON format."""
    return {
        "err_no": int(err_no),
        "err_msg": err_msg,
        "key": list(key),
        "value": list(value),
        "tensors": [],
    }


def pack_predictions(predictions: Sequence[Prediction]) -> dict[str, str]:
    """Return the values of an answer, as JSON: ``[0, 1]`` and ``[0.9959195, 0.5]`` (float32).

    If the labels have names, there is also ``label``: ``["negative", "positive"]``. Scalars are
    formatted one by one, because a list of NumPy 2 scalars would show their types.
    """
    shown = ", ".join(str(np.float32(prediction.prob)) for prediction in predictions)
    label_ids = [prediction.label_id for prediction in predictions]
    packed = {"label_id": str(label_ids), "prob": f"[{shown}]"}
    if any(prediction.is_named for prediction in predictions):
        names = [prediction.label for prediction in predictions]
        packed["label"] = json.dumps(names, ensure_ascii=False)
    return packed


def request_message(keys: Sequence[str], values: Sequence[str], log_id: int = 0):
    """Return a Request message."""
    return Request(key=keys, value=values, logid=log_id, name=SERVICE_NAME, method="prediction")


def text_message(text: str, log_id: int = 0):
    """Return the Request message of one text."""
    return request_message([TEXT_KEY], [text], log_id)


def unary_call(channel):
    """Return the pipeline's one method as a function of a Request message and a timeout."""
    return channel.unary_unary(INFERENCE_METHOD, Request.SerializeToString, Response.FromString)
