"""Bounds on open connections: idle ones are closed, and so are too many.

Uvicorn has a time-out after an answer only (``timeout_keep_alive``), which half a request ends,
and with ``limit_concurrency`` it goes on accepting connections until the process has no file
descriptors left. When it stops it closes idle connections immediately, and a client that is sending
its next request sees a reset.
"""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol

# Fewer than the 1,024 files that a process may usually open; beyond them accepting fails.
MAX_CONNECTIONS = 768
# Seconds from connecting, or from the last answer, until the head of the next request is complete.
HEAD_S = 10.0
# Seconds that an idle connection has for one more request when the service stops.
LAST_REQUEST_S = 2.5


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol with these bounds. Bodies have a time-out of their own, in `body`."""

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

    def shutdown(self) -> None:
        """Close the connection after the request in progress, or the next one if it is idle.

        `app` answers that request with 503 and "Connection: close".
        """
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_REQUEST_S, self._close_now_or_after_the_answer)
        else:
            super().shutdown()

    def _close_now_or_after_the_answer(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

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
