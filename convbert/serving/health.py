"""Whether the pipeline can answer: written by the supervisor, read by the HTTP front end."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from convbert.serving.protocol import ErrNo, RequestError
from paddlenlp.utils.log import get_logger


class State(enum.Enum):
    """What the service can do at this moment."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass
class Health:
    """The state of the pipeline, the reason for it, and its process id (None: not started)."""

    state: State = State.STARTING
    reason: str = "the model is being loaded"
    restarts: int = 0
    pid: int | None = None

    def become(self, state: State, reason: str) -> None:
        """Change the state and log the change; STOPPING is final."""
        if self.state not in (State.STOPPING, state):
            get_logger().info("%s: %s", state.value, reason)
            self.state, self.reason = state, reason

    def require_ready(self) -> None:
        """Raise `RequestError` when a request could not be answered now."""
        if self.state is not State.READY:
            raise RequestError(ErrNo.STOPPED, f"the service is {self.state.value}: {self.reason}")
