"""Hostile messages over HTTP and gRPC: each is refused, and the service goes on."""

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import grpc

from convbert.serving.protocol import INFERENCE_METHOD, ErrNo, Response, text_message
from tests.helpers.serving import Served

ONE = json.dumps({"key": ["text"], "value": ["fine"]}).encode()
# What a server may say to a message that it does not label. 431 would come from a proxy.
REFUSED = {400, 404, 405, 408, 413, 414, 415, 431}
# The last two are of gRPC: a message that it cannot parse, or that is too large.
REFUSED_CALLS = {
    ErrNo.OK,
    ErrNo.BAD_REQUEST,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
ALLOWED_GROWTH = 150 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory, model_dir):
    """A service with the shipped limits."""
    with Served(model_dir, tmp_path_factory.mktemp("run")) as served:
        yield served


def damaged(data: bytes, rng) -> bytes:
    """Some bytes changed, cut, repeated or added."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) + 1)
        data[place : place + rng.randint(0, 4)] = rng.choice(
            (rng.randbytes(rng.randint(0, 4)), b"", bytes(data[place : place + 9]) * 2)
        )
    return bytes(data)


def bodies(rng) -> bytes:
    """A body that is not a request, or a request that is wrong."""
    deep = rng.randint(1, 100_000)
    value = rng.choice(
        [None, 5, 1e400, "x" * 70_000, [], {}, ["\ud800"], [None], True, "\0", ["fine"] * 3000]
    )
    return rng.choice(
        [
            lambda: damaged(ONE, rng),
            lambda: rng.randbytes(rng.randint(0, 3000)),
            lambda: b"[" * deep,
            lambda: b'{"key":' * deep,
            lambda: b'{"key": ["text"], "value": ["fine"], "logid": ' + b"9" * deep + b"}",
            lambda: json.dumps({"key": value, "value": value, "logid": value}).encode(),
            lambda: json.dumps({"key": ["text"], "value": value, "name": value}).encode(),
            lambda: json.dumps(
                {"key": ["text"], "value": ["a"], "tensors": [{"elem_type": 13}]}
            ).encode(),
        ]
    )()


def messages(rng) -> bytes:
    """Bytes of an HTTP request that is malformed, or well-formed with a hostile body."""
    body = bodies(rng)
    head = b"POST /convbert/prediction HTTP/1.1\r\nHost: x\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return rng.choice(
        [
            lambda: head + length + body,
            lambda: damaged(head + length + body, rng),
            lambda: head + b"Content-Length: -1\r\n\r\n" + body,
            lambda: head + b"Content-Length: 99999999999\r\n\r\n" + body,
            lambda: head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + body,
            lambda: head + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFF\r\n" + body,
            lambda: head + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body,
            lambda: head + b"X: " + b"y" * rng.randint(1, 100_000) + b"\r\n" + length + body,
            lambda: b"GET /" + rng.randbytes(rng.randint(0, 300)) + b" HTTP/1.1\r\n\r\n",
            lambda: b"%s /health HTTP/9.9\r\n\r\n" % rng.choice([b"GET", b"BREW", b"\0"]),
        ]
    )()


def status_of(port: int, message: bytes) -> int | None:
    """Send bytes and close; the status of the first answer, None if the server only closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(message)
            with suppress(OSError):  # the server has closed the connection already
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
        except (ConnectionError, http.client.HTTPException, ValueError):
            return None
        return response.status


def memory(service) -> int:
    """Resident bytes of all processes of the service."""
    return sum(process.memory_info().rss for process in service.family())


@contextmanager
def unharmed(service, protocol: str) -> Iterator[Counter]:
    """Check that messages leave the processes and their memory as they are; yields a counter."""
    service.ask("fine")
    before, family, seen = memory(service), service.family(), Counter()
    yield seen
    assert service.ask("fine")[0] == 200
    assert service.family() == family
    growth = memory(service) - before
    assert growth < ALLOWED_GROWTH
    print(f"\n{protocol}: {dict(seen)}, memory {growth / 2**20:+.0f} MiB")


def test_hostile_http(service, amount, rng):
    with unharmed(service, "HTTP") as seen:
        for number in range(amount("messages")):
            message = messages(rng)
            status = status_of(service.port, message)
            assert status in {None, 200, *REFUSED}, message[:200]
            seen[status] += 1
            if number % 50 == 49:
                assert service.ask("fine")[0] == 200


def calls(rng) -> bytes:
    """Bytes in place of a gRPC message."""
    deep = rng.randint(1, 100_000)
    good = text_message("fine").SerializeToString()
    wrong = text_message(rng.choice(["", "x" * 70_000, "\0"]))
    wrong.key.extend(rng.choice([[], ["text"], ["nothing", "text"]]))
    return rng.choice(
        [
            lambda: damaged(good, rng),
            lambda: rng.randbytes(rng.randint(0, 3000)),
            lambda: wrong.SerializeToString(),
            lambda: b"\x4b" * deep,  # groups in groups, of a field that nobody knows
            lambda: b"\x1a" + b"\xff" * 4 + b"\x0f" + b"x" * deep,  # longer than the message
            lambda: good + b"\x1a\x02\x08\x0d",  # a tensor
            lambda: b"x" * rng.choice([1 << 16, 5 << 20]),  # fields that nobody knows; too large
        ]
    )()


def result_of(call, message: bytes) -> ErrNo | grpc.StatusCode:
    """The err_no of an answer, or the status of a failed call."""
    try:
        return ErrNo(call(message, timeout=30).err_no)
    except grpc.RpcError as error:
        return error.code()


def test_hostile_grpc(service, amount, rng):
    with unharmed(service, "gRPC") as seen, grpc.insecure_channel(service.address) as channel:
        call = channel.unary_unary(INFERENCE_METHOD, bytes, Response.FromString)
        for _ in range(amount("messages")):
            message = calls(rng)
            result = result_of(call, message)
            assert result in REFUSED_CALLS, message[:200]
            seen[result.name] += 1
