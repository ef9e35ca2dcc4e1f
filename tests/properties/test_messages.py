"""Requests over HTTP and gRPC."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.bounds import bounded, read_or_refused, tables, values, words

pytest.importorskip("grpc")

from google.protobuf.message import DecodeError  # noqa: E402

from convbert.serving.http.body import parse_body  # noqa: E402
from convbert.serving.protocol import Request, RequestError, text_message, texts_of  # noqa: E402

BODIES = tables(
    "tensors",
    "name",
    key=st.lists(st.sampled_from(["text", "text_pair"]) | words, max_size=3) | values,
    value=st.lists(words, max_size=3) | values,
    logid=values | st.text("0123456789", max_size=30),
)


def answered(parse):
    """Return what ``parse()`` returns; None after an error for the client."""

    def read():
        try:
            return parse()
        except RequestError as error:
            return error

    found = read_or_refused(read)
    if isinstance(found, RequestError):
        assert found.status in (400, 413, 415)
        assert len(str(found)) < 1000
        return None
    return found


@bounded
@given((BODIES | values).map(json.dumps).map(str.encode) | st.binary(max_size=100))
def test_http_body(body):
    message = answered(lambda: parse_body(body))
    if message is not None:
        answered(lambda: texts_of(message.key, message.value, 4, 100))


@pytest.mark.parametrize("body", [b"[" * 10**6, b'{"key":' * 10**5, b"1" * 10**6, b'"' * 10**6])
def test_a_large_http_body(body):
    assert answered(lambda: parse_body(body)) is None


@bounded
@given(st.binary(max_size=200) | st.lists(st.integers(0, 255), min_size=2, max_size=2).map(bytes))
def test_grpc_message(content):
    good = text_message("fine").SerializeToString()
    for data in (content, good + content, good[:4] + content):
        try:
            message = Request.FromString(data)
        except (DecodeError, UnicodeDecodeError):  # the latter from protobuf in Python
            continue
        texts = answered(lambda message=message: texts_of(message.key, message.value, 4, 100))
        assert texts is None or 0 < len(texts) <= 4
