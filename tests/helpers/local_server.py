"""A small HTTP server on the loopback address that can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
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
    wrong_range: bool = False  # 206, but from another byte


@dataclass
class LocalServer:
    """``files`` by path, ``troubles`` of the next requests in order, ``ranges`` asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    etags: bool = True
    honours_range: bool = True
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def count(self) -> int:
        """Requests so far."""
        return len(self.ranges)


class _Handler(BaseHTTPRequestHandler):
    state: LocalServer

    def do_GET(self):
        state = self.state
        trouble = state.troubles.pop(0) if state.troubles else Trouble()
        state.ranges.append(self.headers.get("Range"))
        content = state.files.get(self.path)
        if trouble.status or content is None:
            self.send_response(trouble.status or 404)
            if trouble.location:
                self.send_header("Location", trouble.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = '"' + hashlib.sha1(content).hexdigest() + '"'
        start = self._start(etag)
        if start is not None and start >= len(content):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            shown = start + 1 if trouble.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        body = content[start or 0 :]
        if state.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, trouble)

    def _start(self, etag: str) -> int | None:
        """First byte to send, None for the whole file."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", etag) == etag
        return int(asked.group(1)) if asked and same and self.state.honours_range else None

    def _send(self, body: bytes, trouble: Trouble) -> None:
        stop = trouble.cut_after if trouble.cut_after is not None else trouble.stall_after
        self.wfile.write(body[:stop])
        self.wfile.flush()
        if trouble.stall_after is not None:
            self.state.release.wait(30)
        self.close_connection = True

    def log_message(self, *args):
        pass


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
