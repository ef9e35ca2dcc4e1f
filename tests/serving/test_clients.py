"""What the clients make of wrong addresses and of servers that are not ours."""

from __future__ import annotations

import socket
import threading

import pytest

from convbert.serving.clients import CallError, label_of

HTTP_CLIENT = "deploy/serving_python/pipeline_http_client.py"
RPC_CLIENT = "deploy/serving_python/pipeline_rpc_client.py"


@pytest.fixture
def stranger():
    """Return ``serve(data)``: the port of a server that answers its one client with ``data``."""
    threads = []

    def serve(data: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listener, listener.accept()[0] as client:
                client.recv(65536)
                client.sendall(data)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return listener.getsockname()[1]

    yield serve
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x00\x00\x12\x04\x00\r\n", "BadStatusLine, is this the HTTP port?"),  # as gRPC greets
        (b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"err', "IncompleteRead"),
        (b'HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n{"err', "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n\r\n[1]", "not one of this service"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"err_no": 0, "value": [5]}', "carries no label"),
    ],
)
def test_a_server_that_is_not_ours_is_one_line(run_script, stranger, data, says):
    url = f"http://127.0.0.1:{stranger(data)}/convbert/prediction"
    done = run_script(HTTP_CLIENT, "--url", url)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "value", [None, [], ["[1]"], ["[1, 2]", "[0.5]"], [1, 2], ["[1]", "x"], ["[1]", "[0.5]", "[2]"]]
)
def test_an_answer_without_one_label_and_probability_is_an_error(value):
    with pytest.raises(CallError, match="carries no label"):
        label_of({"err_no": 0, "value": value})


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://x/a b",
        "ftp://x",
    ],
)
def test_a_wrong_url_is_one_line(run_script, url):
    done = run_script(HTTP_CLIENT, "--url", url)
    assert done.returncode == 2
    assert done.stderr.endswith("give an address like http://127.0.0.1:18080/convbert/prediction\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["", "somewhere", "127.0.0.1:", ":9993", "127.0.0.1:99999"])
def test_a_wrong_rpc_address_is_one_line(run_script, address):
    done = run_script(RPC_CLIENT, "--address", address)
    assert done.returncode == 2
    assert done.stderr.endswith("give HOST:PORT, like 127.0.0.1:9993\n")
    assert len(done.stderr.splitlines()) == 1
