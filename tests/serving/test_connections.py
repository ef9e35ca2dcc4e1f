"""Connections that ask nothing are closed, and more than a bound are not taken."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import uvicorn

from convbert.serving import connections
from convbert.serving.service import listen
from tests.helpers.serving import free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _slow_app(scope, receive, send):
    await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def connect(monkeypatch):
    """Return a function that connects to a server of short patience and few connections."""
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = connections.BoundedProtocol
    server = uvicorn.Server(uvicorn.Config(_slow_app, http=protocol, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield lambda: socket.create_connection(listener.getsockname(), timeout=10)
    server.should_exit = True
    thread.join()


def ending(connection):
    """Read until the server closes; return what came and the seconds until then."""
    began, received = time.monotonic(), b""
    try:
        while True:
            data = connection.recv(1000)
            if not data:
                break
            received += data
    except ConnectionResetError:
        pass
    return received, time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", REQUEST[:20]])
def test_half_a_request_is_not_waited_for(connect, sent):
    with connect() as connection:
        connection.sendall(sent)
        received, seconds = ending(connection)
    assert received == b""
    assert seconds < 5


def test_a_slow_answer_is_waited_for_and_the_silence_after_it_is_not(connect):
    with connect() as connection:
        connection.sendall(REQUEST)
        received, seconds = ending(connection)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"done" in received
    assert 1.0 < seconds < 4  # by itself uvicorn waits five seconds more


def test_a_connection_too_many_is_closed_at_once(connect):
    kept = [connect() for _ in range(3)]
    for connection in kept:
        connection.sendall(REQUEST)
    with connect() as one_too_many:
        assert ending(one_too_many)[1] < 0.4
    for connection in kept:
        assert ending(connection)[0].startswith(b"HTTP/1.1 200")
        connection.close()
    with connect() as later:
        later.sendall(REQUEST)
        assert ending(later)[0].startswith(b"HTTP/1.1 200")


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgement():
    """Without TCP_NODELAY it may, for 40 ms; asyncio sets it if the socket names its protocol."""

    async def option() -> int:
        accepted = asyncio.get_running_loop().create_future()
        listener = listen("127.0.0.1", free_port(), "--port")
        server = await asyncio.start_server(lambda _, w: accepted.set_result(w), sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        taken = await accepted
        value = taken.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for stream in (writer, taken, server):
            stream.close()
        return value

    assert asyncio.run(option())
