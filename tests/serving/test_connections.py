"""Idle connections are closed, and more than a bound are not accepted."""

import asyncio
import socket
import threading

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import uvicorn

from convbert.serving.config import Address
from convbert.serving.http import connections
from convbert.serving.process.service import listen
from tests.helpers.local_server import free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _slow_app(scope, receive, send):
    await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def connect(monkeypatch):
    """Return a function that connects to a server of short patience and few connections."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        _slow_app, http=connections.BoundedProtocol, lifespan="off", timeout_keep_alive=0.5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield lambda: socket.create_connection(listener.getsockname(), timeout=30)
    server.should_exit = True
    thread.join()


def until_closed(connection) -> bytes:
    """Read until the server closes the connection; a server that does not is a time-out."""
    received = b""
    with connection:
        try:
            while data := connection.recv(1000):
                received += data
        except ConnectionResetError:
            pass
    return received


@pytest.mark.parametrize("sent", [b"", REQUEST[:20]])
def test_a_connection_without_a_whole_request_is_closed(connect, sent):
    connection = connect()
    connection.sendall(sent)
    assert until_closed(connection) == b""


@pytest.mark.parametrize("then", [b"", REQUEST[:20]])
def test_a_slow_answer_is_sent_and_the_idle_connection_closed(connect, then):
    connection = connect()
    connection.sendall(REQUEST + then)
    received = until_closed(connection)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"done") == 1


def test_a_connection_too_many_is_closed(connect):
    kept = [connect() for _ in range(3)]
    for connection in kept:
        connection.sendall(REQUEST)
    assert until_closed(connect()) == b""
    for connection in kept:
        assert until_closed(connection).startswith(b"HTTP/1.1 200")
    later = connect()
    later.sendall(REQUEST)
    assert until_closed(later).startswith(b"HTTP/1.1 200")


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgement():
    """Without TCP_NODELAY, which connections inherit, it may, for 40 ms."""
    with listen(Address("127.0.0.1", free_port()), "--port") as listener:
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
