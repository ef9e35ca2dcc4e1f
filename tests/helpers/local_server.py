"""A small HTTP server on the loopback address that fails on request, and free ports."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Trouble:
    """What goes wrong with one request; the default is nothing."""

    status: int = 0  # answer with this status and no file
    cut_after: int | None = None  # close the connection after so many bytes of the body
    stall_after: int | None = None  # stop sending, keep the connection
    location: str = ""  # with a 3xx status
    headers: dict[str, str] = field(default_factory=dict)  # beside, or instead of, the usual ones
    drip_s: float = 0  # send the body byte by byte, with such pauses


@dataclass
class LocalServer:
    """``files`` by path, ``troubles`` of the next requests in order, ``count`` of requests."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    count: int = 0
    release: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    state: LocalServer

    def do_GET(self):
        state = self.state
        trouble = state.troubles.pop(0) if state.troubles else Trouble()
        state.count += 1
        content = state.files.get(self.path)
        if trouble.status or content is None:
            self.send_response(trouble.status or 404)
            if trouble.location:
                self.send_header("Location", trouble.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        headers = {"Content-Length": str(len(content)), **trouble.headers}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if trouble.drip_s:
            self._drip(content, trouble.drip_s)
            return
        stop = trouble.cut_after if trouble.cut_after is not None else trouble.stall_after
        self.wfile.write(content[:stop])
        self.wfile.flush()
        if trouble.stall_after is not None:
            state.release.wait(30)
        self.close_connection = True

    def _drip(self, content: bytes, pause: float) -> None:
        with suppress(OSError):  # the client goes away
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.state.release.wait(pause):
                    return

    def log_message(self, *args):
        pass


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def http_server():
    """A running `LocalServer` without files."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.state = LocalServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield handler.state
    handler.state.release.set()
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
