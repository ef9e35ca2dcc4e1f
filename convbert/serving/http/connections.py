"""Bounds on open connections: idle ones are closed, and so are too many.

Uvicorn has a time-out after an answer only (``timeout_keep_alive``), which half a request ends,
and with ``limit_concurrency`` it goes on accepting connections until the process has no file
descriptors left.
"""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol

# Fewer than the 1,024 files that a process may usually open; beyond them accepting fails.
MAX_CONNECTIONS = 768
# Seconds from connecting, or from the last answer, until the head of the next request is complete.
HEAD_S = 10.0


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol with both bounds. Bodies have a time-out of their own, in `body`."""

    def connection_made(self, transport) -> None:
        """Accept a connection, or close it immediately when there are too many."""
        super().connection_made(transport)
        self._expect_request()
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request on this connection, for a while."""
        self._head_timer.cancel()
        self._expect_request()
        super().on_response_complete()

    def connection_lost(self, exc) -> None:
        """Forget a connection that has ended."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._close_if_idle, self.cycle)

    def _close_if_idle(self, last_cycle) -> None:
        """Close the connection if no request came after the one of ``last_cycle``."""
        if self.cycle is last_cycle:
            self.transport.abort()
