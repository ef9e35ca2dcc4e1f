"""What a client may send and what it gets back; the same checks over HTTP and gRPC.

A request is a pair of parallel lists. Each key is ``text``, or ``text_pair`` for the second
sentence of a pair, and may be repeated: ``{"key": ["text", "text"], "value": ["one", "two"]}``
asks for two answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from paddlenlp.utils.text import without_surrogates

TEXT_KEY, PAIR_KEY = "text", "text_pair"
# Fields of Paddle Serving's Request message that a body may carry although nothing reads them.
_IGNORED_FIELDS = ("name", "method", "clientip")
_LOGID_BOUND = 2**63


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


class RequestError(Exception):
    """A request that gets no label: its ``err_no``, a message for the client, an HTTP status."""

    def __init__(self, err_no: ErrNo, message: str, status: int | None = None):
        super().__init__(message)
        self.err_no = err_no
        self.status = status or HTTP_STATUS[err_no]


@dataclass(frozen=True)
class Limits:
    """Bounds on one request: texts, characters a text, bytes of the whole request."""

    max_texts: int
    max_text_chars: int
    max_body_bytes: int


@dataclass(frozen=True)
class Fields:
    """The fields of a request body, types checked."""

    keys: list[str]
    values: list[str]
    logid: int = 0


def parse_body(body: bytes) -> Fields:
    """Read a JSON body.

    Raises:
        RequestError: not UTF-8, not a JSON object, an unknown field or a value of a wrong type.
    """
    try:
        parsed = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 (byte {error.start + 1})") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise bad_request(f"the body is not JSON: {reason}") from None
    if not isinstance(parsed, dict):
        raise bad_request('the body is no JSON object: send {"key": ["text"], "value": ["..."]}')
    if parsed.get("tensors"):
        raise bad_request(TENSORS_REFUSED)
    unknown = set(parsed) - {"key", "value", "logid", "tensors", *_IGNORED_FIELDS}
    if unknown:
        raise bad_request(f"unknown field {_shown(min(unknown))}: send key, value and logid")
    return Fields(
        _strings(parsed, "key"), _strings(parsed, "value"), _log_id(parsed.get("logid", 0))
    )


TENSORS_REFUSED = "tensors are not accepted: send the text in key and value"


def bad_request(message: str, status: int | None = None) -> RequestError:
    """Return the error of a request that its sender has to mend."""
    return RequestError(ErrNo.BAD_REQUEST, message, status)


def _strings(parsed: dict, name: str) -> list[str]:
    values = parsed.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise bad_request(f"'{name}' must be a list of strings")
    return [without_surrogates(value) for value in values]


def _log_id(value: Any) -> int:
    # Protobuf's JSON form of int64. Python refuses to read thousands of digits.
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request("'logid' must be an integer")
    if not -_LOGID_BOUND <= value < _LOGID_BOUND:
        raise bad_request("'logid' must fit in 64 bits")
    return value


def texts_of(
    keys: Sequence[str], values: Sequence[str], limits: Limits
) -> list[str | tuple[str, str]]:
    """Return the sentences, or (sentence, sentence) pairs, that a request asks about.

    Raises:
        RequestError: lengths differ, a key is unknown, no text, an empty one, one too many or
            too long, or pairs without partner.
    """
    if len(keys) != len(values):
        raise bad_request(f"'key' has {len(keys)} entries but 'value' has {len(values)}")
    columns = {TEXT_KEY: [], PAIR_KEY: []}
    for key, value in zip(keys, values):
        if key not in columns:
            raise bad_request(f"unknown key {_shown(key)}: send '{TEXT_KEY}'")
        columns[key].append(value)
    texts, pairs = columns[TEXT_KEY], columns[PAIR_KEY]
    if not texts:
        raise bad_request(f"no text: send key ['{TEXT_KEY}'] and its value")
    if len(texts) > limits.max_texts:
        raise bad_request(f"{len(texts)} texts are more than {limits.max_texts}: send fewer")
    if pairs and len(pairs) != len(texts):
        raise bad_request(f"{len(texts)} '{TEXT_KEY}' but {len(pairs)} '{PAIR_KEY}': send as many")
    for column in (texts, pairs):
        for number, text in enumerate(column, start=1):
            _check_text(number, text, limits.max_text_chars)
    return list(zip(texts, pairs)) if pairs else texts


def _check_text(number: int, text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise bad_request(f"text {number} has {len(text)} characters, more than {max_chars}")
    if not text.strip():
        raise bad_request(f"text {number} is empty: give at least one word")


def answer(
    err_no: int = 0, err_msg: str = "", key: Sequence[str] = (), value: Sequence[str] = ()
) -> dict:
    """Return an answer in Paddle Serving's JSON form."""
    return {
        "err_no": int(err_no),
        "err_msg": err_msg,
        "key": list(key),
        "value": list(value),
        "tensors": [],
    }


def pack_predictions(label_ids: Sequence[int], probs: Sequence[float]) -> dict:
    """Return the two values of an answer, as text: ``[0, 1]`` and ``[0.9959195, 0.5]`` (float32).

    NumPy 2 would print its scalars with their type, so each is turned into text by itself.
    """
    shown = ", ".join(str(np.float32(prob)) for prob in probs)
    return {"label_id": str([int(label) for label in label_ids]), "prob": f"[{shown}]"}


def _shown(name: str) -> str:
    return repr(name[:40])
