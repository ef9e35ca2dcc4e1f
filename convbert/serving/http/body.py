"""The body of a prediction request: size and time limits, JSON to a Request message."""

import asyncio
import json
import re
from collections.abc import Mapping

from starlette.requests import Request

from convbert.serving.protocol import TENSORS_REFUSED, ErrNo, RequestError, request_message
from paddlenlp.utils.parsing import parse_json
from paddlenlp.utils.text import without_surrogates

# A body of up to this many times the limit is read to the end before it is rejected: otherwise the
# client would see a broken connection instead of the answer.
_DRAINED = 4
# Other fields of Paddle Serving's Request message are accepted and ignored.
_FIELDS = {"key", "value", "logid", "tensors", "name", "method", "clientip"}
_UNSUPPORTED = 415
# Some clients name the charset in Content-Encoding.
_UNCHANGED = ("", "identity", "utf-8")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_EXAMPLE = '{"key": ["text"], "value": ["..."]}'


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Return the body; ``request.state.body_read`` is set if it was read to the end.

    Raises:
        RequestError: it has more than ``max_bytes``, or did not arrive within ``timeout`` seconds.
    """
    try:
        return await asyncio.wait_for(_collect(request, max_bytes), timeout)
    except asyncio.TimeoutError:
        raise RequestError("the body did not arrive in time", ErrNo.TIMEOUT, 408) from None


async def _collect(request: Request, max_bytes: int) -> bytes:
    too_large = RequestError(
        f"the body has more than {max_bytes} bytes: send fewer texts", status=413
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > _DRAINED * max_bytes:
        raise too_large
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _DRAINED * max_bytes:
            raise too_large
        if size <= max_bytes:
            body += chunk
    request.state.body_read = True
    if size > max_bytes:
        raise too_large
    return bytes(body)


def parse_body(body: bytes, headers: Mapping[str, str] | None = None):
    """Return the Request message of a JSON body. Its texts are checked by the pipeline.

    Args:
        body: UTF-8, with or without a byte order mark.
        headers: headers of the request, with lower-case names. A compressed body is rejected, and
            any charset but UTF-8 unless the body is ASCII.

    Raises:
        RequestError: not UTF-8, not a JSON object, an unknown field or a value of a wrong type.
    """
    try:
        parsed = parse_json(_text(body, headers or {}))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(f"the body is not JSON, see {place}: send {_EXAMPLE}") from None
    except ValueError as error:
        raise RequestError(f"the body is JSON that is not accepted: {error}") from None
    if not isinstance(parsed, dict):
        raise RequestError(f"the body is not a JSON object: send {_EXAMPLE}")
    if parsed.get("tensors"):
        raise RequestError(TENSORS_REFUSED)
    unknown = set(parsed) - _FIELDS
    if unknown:
        raise RequestError(f"unknown field {min(unknown)[:40]!r}: send key, value and logid")
    log_id = parsed.get("logid", 0)
    if isinstance(log_id, str) and log_id.isdecimal():  # as protobuf's JSON writes an int64
        log_id = int(log_id[:20])  # more digits are too many, too
    if type(log_id) is not int or not -(2**63) <= log_id < 2**63:
        raise RequestError("'logid' must be an integer of 64 bits")
    return request_message(_strings(parsed, "key"), _strings(parsed, "value"), log_id)


def _text(body: bytes, headers: Mapping[str, str]) -> str:
    """Decode a body; an error names its encoding or compression if these are known."""
    coding = headers.get("content-encoding", "").strip()
    charset = _CHARSET.search(headers.get("content-type", ""))
    problem = ""
    if coding.lower() not in _UNCHANGED:
        problem = f"Content-Encoding {coding[:40]!r}"
    elif body.startswith(_GZIP):
        problem = "compression with gzip"
    elif charset and charset[1].lower() not in ("utf-8", "utf8") and not body.isascii():
        problem = f"the charset {charset[1][:40]!r}"
    if problem:
        message = f"{problem} is not accepted: send the body uncompressed, in UTF-8"
        raise RequestError(message, status=_UNSUPPORTED)
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise RequestError(f"the body is {encoding[:6].upper()}, not UTF-8: send it in UTF-8")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1}"
        raise RequestError(f"the body is not UTF-8 ({place}): send it in UTF-8") from None


def _strings(parsed: dict, name: str) -> list[str]:
    values = parsed.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RequestError(f"'{name}' must be a list of strings")
    return [without_surrogates(value) for value in values]
