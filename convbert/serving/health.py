"""Whether the pipeline can answer: written by the supervisor, read by the HTTP front end."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field

from convbert.serving.protocol import ErrNo, RequestError
from paddlenlp.utils.log import get_logger

# After this many seconds without a label the service is not reported as ready, see `Health.shown`.
SILENT_S = 4.5


class State(enum.Enum):
    """The state of the service."""

    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"  # only reported: requests are still sent to the pipeline
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass
class Health:
    """The state of the pipeline, the reason for it, and its process id (None: not started).

    ``last_answer``: time of the last labelled text, from a request or a probe (`time.monotonic`).
    """

    state: State = State.STARTING
    reason: str = "the model is being loaded"
    restarts: int = 0
    pid: int | None = None
    last_answer: float = field(default_factory=time.monotonic)

    def answered(self) -> None:
        """Record that the pipeline has just labelled a text."""
        self.last_answer = time.monotonic()

    def shown(self) -> tuple[State, str]:
        """Return the state and the reason that GET /health shows."""
        silent = time.monotonic() - self.last_answer
        if self.state is State.READY and silent > SILENT_S:
            return State.SILENT, f"no text was labelled for {silent:.0f} s"
        return self.state, self.reason

    def become(self, state: State, reason: str) -> None:
        """Change the state and log the change; STOPPING is final."""
        if self.state not in (State.STOPPING, state):
            get_logger().info("%s: %s", state.value, reason)
            self.state, self.reason = state, reason

    def require_ready(self) -> None:
        """Raise `RequestError` if a request cannot be answered now."""
        if self.state is not State.READY:
            raise RequestError(ErrNo.STOPPED, f"the service is {self.state.value}: {self.reason}")
