"""Bounds on open HTTP connections: nobody can hold the service by saying nothing."""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol

# Fewer than the 1,024 files that a process may usually open; beyond them accepting fails.
MAX_CONNECTIONS = 768
# Seconds from connecting, or from the last answer, to the whole head of the next request.
HEAD_S = 10.0


class BoundedProtocol(H11Protocol):
    """Uvicorn's protocol with bounds: it waits for ever, and accepts until no file is left.

    Bodies have a time-out of their own, in `front`.
    """

    def connection_made(self, transport) -> None:
        """Take a connection, or close it at once when there are too many."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_S, self._close_unless_asked, self.cycle)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request of this connection, but not for ever."""
        self._patience.cancel()
        self._patience = self.loop.call_later(HEAD_S, self._close_unless_asked, self.cycle)
        super().on_response_complete()

    def connection_lost(self, exc) -> None:
        """Forget a connection that has ended."""
        self._patience.cancel()
        super().connection_lost(exc)

    def _close_unless_asked(self, last_cycle) -> None:
        """Close a connection whose latest request is still ``last_cycle``, the one before."""
        if self.cycle is last_cycle:
            self.transport.abort()
