"""Limits on open connections: on their number and on their idle time.

Uvicorn has only a timeout after an answer (``timeout_keep_alive``), which an incomplete request
ends. With ``limit_concurrency`` it continues to accept connections until the process runs out of
file descriptors. When it stops, it closes idle connections immediately, so that a client that is
sending its next request sees a reset.
"""

from uvicorn.protocols.http.h11_impl import H11Protocol

# Below the usual limit of 1,024 open files per process, at which accepting fails.
MAX_CONNECTIONS = 768
# Seconds that an idle connection has for one more request when the service stops.
LAST_REQUEST_S = 2.5


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol with these limits. Bodies have a separate timeout, in `body`.

    ``timeout_keep_alive`` is the time from connecting, or from the last answer, until the head of
    the next request is complete.
    """

    def connection_made(self, transport) -> None:
        """Accept a connection, or close it immediately if there are too many."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; `handle_events` ends the timeout when the head is complete."""
        self.conn.receive_data(data)
        self.handle_events()

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
