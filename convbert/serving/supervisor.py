"""Keeps the pipeline's process running: ready or not, restarted whole, stopped in order."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
import signal
import sys
import time
from collections.abc import Callable

from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.backend import Backend
from convbert.serving.requests import TEXT_KEY, ErrNo, Fields, RequestError
from convbert.serving.run_dir import LOG_FILE
from convbert.serving.runtime import kill_group
from paddlenlp.utils.log import get_logger

# A pipeline that ends more often than this within so many seconds, or more often in a row before it
# was ready, will not get better by itself.
MAX_RESTARTS, RESTART_WINDOW_S = 3, 60.0
_SEE_LOG = f"{LOG_FILE} in --run_dir says why"
EXIT_FAILED = 1
_PROBE = Fields([TEXT_KEY], ["ready ?"])
_PROBE_PAUSE_S = 0.1


class State(enum.Enum):
    """What the service can do at this moment."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


class Supervisor:
    """Starts the pipeline in a process group of its own and watches it.

    Paddle Serving answers some errors with ``kill -9`` of its whole group, hence its own.

    Args:
        command, environment, folder: how and where to start the pipeline.
        backend: connection for the readiness probe, a real prediction.
        start_timeout: seconds from start to the first answer.
        write: receives each line the pipeline prints.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: str,
        backend: Backend,
        start_timeout: float,
        write: Callable[[str], None],
    ):
        self._command, self._environment, self._folder = command, environment, folder
        self._backend, self._start_timeout, self._write = backend, start_timeout, write
        self._process: asyncio.subprocess.Process | None = None
        self._ends: collections.deque[float] = collections.deque(maxlen=MAX_RESTARTS)
        self._user_error = ""
        self._starts_in_vain = 0
        self._too_slow = False
        self.state = State.STARTING
        self.reason = "the model is being loaded"
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the pipeline, which is its process group too."""
        return self._process.pid if self._process else None

    def require_ready(self) -> None:
        """Raise `RequestError` at once when a request could not be answered now."""
        if self.state is not State.READY:
            raise RequestError(ErrNo.STOPPED, f"the service is {self.state.value}: {self.reason}")

    async def run(self) -> int:
        """Keep the pipeline running until `stop`, or until it cannot be; return an exit status."""
        while True:
            code = await self._run_once()
            if self.state is State.STOPPING:
                return 0
            if code == 0:  # somebody stopped it: paddle_serving_server.serve stop
                return self._fail(0, "the pipeline was stopped from outside")
            if code == EXIT_USER_ERROR:
                return self._fail(EXIT_USER_ERROR, self._user_error or "wrong configuration")
            hopeless = self._hopeless()
            if hopeless:
                return self._fail(EXIT_FAILED, hopeless)
            self._ends.append(time.monotonic())
            self.restarts += 1
            self._become(State.RESTARTING, f"the prediction process ended ({_ending(code)})")

    def _hopeless(self) -> str:
        """Return why another start would not help, or nothing."""
        if self._too_slow and self.state is State.STARTING:
            slow = f"no answer within {self._start_timeout:g} s of the start"
            return f"{slow}: raise start_timeout_s if that is too short; {_SEE_LOG}"
        if self._starts_in_vain > MAX_RESTARTS:
            return f"the pipeline did not get ready in {self._starts_in_vain} starts: {_SEE_LOG}"
        often = len(self._ends) == MAX_RESTARTS
        if often and time.monotonic() - self._ends[0] < RESTART_WINDOW_S:
            window = f"{RESTART_WINDOW_S:.0f} s"
            return f"the pipeline ended {MAX_RESTARTS + 1} times in {window}: {_SEE_LOG}"
        return ""

    def restart(self, reason: str) -> None:
        """Kill the pipeline; `run` starts it anew."""
        if self.state is State.READY and self._process:
            get_logger().error("killing the pipeline: %s", reason)
            self._become(State.RESTARTING, reason)
            kill_group(self._process.pid)

    async def stop(self, patience: float) -> None:
        """Ask the pipeline to end, and kill what is left of it after ``patience`` seconds."""
        self._become(State.STOPPING, "it was asked to")
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), patience)
        kill_group(process.pid)

    def kill(self) -> None:
        """End the pipeline at once: the calls in flight fail, and are answered so."""
        self._become(State.STOPPING, "it was asked to")
        if self._process:
            kill_group(self._process.pid)

    async def _run_once(self) -> int:
        """Start the pipeline and return its exit status when it has ended, group and all."""
        self._starts_in_vain += 1
        self._too_slow = False
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = process
        tasks = [
            asyncio.ensure_future(self._copy_lines(process.stdout)),
            asyncio.ensure_future(self._become_ready()),
        ]
        try:
            return await process.wait()
        finally:
            kill_group(process.pid)
            tasks[1].cancel()
            await asyncio.wait(tasks, timeout=1.0)  # the last lines say why it ended

    async def _copy_lines(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the buffer: skip what was read
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip("\n")
            if "error: " in text:
                self._user_error = text.split("error: ", 1)[1]
            self._write(text)

    async def _become_ready(self) -> None:
        """Probe until the pipeline labels a text."""
        start = time.monotonic()
        while (left := start + self._start_timeout - time.monotonic()) > 0:
            with contextlib.suppress(RequestError):
                response = await self._backend.predict(_PROBE, left)
                if response.err_no == ErrNo.OK and list(response.key) == ["label_id", "prob"]:
                    self._starts_in_vain = 0
                    self._become(State.READY, f"after {time.monotonic() - start:.1f} s")
                    return
            await asyncio.sleep(_PROBE_PAUSE_S)
        self._too_slow = True
        get_logger().error("no answer within %s s of the start", self._start_timeout)
        kill_group(self._process.pid)

    def _become(self, state: State, reason: str) -> None:
        if self.state is not State.STOPPING and self.state is not state:
            get_logger().info("%s: %s", state.value, reason)
            self.state, self.reason = state, reason

    def _fail(self, status: int, reason: str) -> int:
        self.state, self.reason = State.FAILED, reason
        if status:
            print(f"error: {reason}", file=sys.stderr, flush=True)
        return status


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
