"""The clients: wrong addresses, and servers that are not this service."""

import socket
import threading

import pytest

from convbert.serving.clients import CallError, answer_of
from tests.helpers.errors import assert_refused

HTTP_CLIENT = "deploy/serving_python/pipeline_http_client.py"
RPC_CLIENT = "deploy/serving_python/pipeline_rpc_client.py"


@pytest.fixture
def foreign_server():
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
    "data",
    [
        b"\x00\x00\x12\x04\x00\r\n",  # as gRPC greets
        b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"err',
        b'HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n{"err',
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b'HTTP/1.1 200 OK\r\n\r\n{"err_no": 0, "value": [5]}',
    ],
)
def test_a_foreign_server_is_one_line(call_script, foreign_server, data):
    url = f"http://127.0.0.1:{foreign_server(data)}/convbert/prediction"
    done = call_script(HTTP_CLIENT, "--url", url)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_an_output_that_cannot_be_written_is_noticed_before_the_first_text(call_script, tmp_path):
    done = call_script(HTTP_CLIENT, "--url", "http://127.0.0.1:1/x", "--output_file", tmp_path)
    assert_refused(done, "not-writable", tmp_path)


@pytest.mark.parametrize(
    "value", [None, [], ["[1]"], ["[1, 2]", "[0.5]"], [1, 2], ["[1]", "x"], ["[1]", "[0.5]", "[]"]]
)
def test_an_answer_without_one_label_and_probability_is_an_error(value):
    keys = ["label_id", "prob", "label"]
    answered = {"label_id": 1, "prob": 0.5}
    assert answer_of({"err_no": 0, "key": keys, "value": ["[1]", "[0.5]"]}) == answered
    named = ["[1]", "[0.5]", '["positive"]']
    assert answer_of({"err_no": 0, "key": keys, "value": named}) == {
        **answered,
        "label": "positive",
    }
    with pytest.raises(CallError):
        answer_of({"err_no": 0, "key": keys, "value": value})


URLS = ["http://[::1/", "http://127.0.0.1:port/", "http://127.0.0.1:99999/", "http://x/a b"]
URLS += ["ftp://x", "127.0.0.1:18080"]
ADDRESSES = ["", "somewhere", "127.0.0.1:", ":9993", "127.0.0.1:99999"]


def test_wrong_addresses_and_texts_are_one_line(call_script):
    for client, flag, values in (
        (HTTP_CLIENT, "--url", URLS),
        (RPC_CLIENT, "--address", ADDRESSES),
    ):
        for value in values:
            assert_refused(call_script(client, flag, value), "command-line", value)
    done = call_script(HTTP_CLIENT, "--input_file", "missing.txt")
    assert_refused(done, "file-missing", "missing.txt")
    done = call_script(HTTP_CLIENT, "--text", "a", "--input_file", "b")
    assert_refused(done, "command-line", "--input_file", "--text")
