"""Keeps the pipeline's process running: probes it, restarts it, stops it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.health import Health, State
from convbert.serving.process.service_dir import LOG_FILE, RunDir
from convbert.serving.protocol import ErrNo, RequestError
from convbert.serving.rpc import PipelineConnection, text_message
from paddlenlp.utils.log import get_logger

# Give up if the pipeline exits more often than this within the window, or more often in a row
# before it is ready.
MAX_RESTARTS, RESTART_WINDOW_S = 3, 60.0
EXIT_FAILED = 1
_SEE_LOG = f"{LOG_FILE} in --run_dir says why"
_PROBE_PAUSE_S = 0.1
_LONGEST_LINE = 1000  # characters
# If no text was labelled for _QUIET_S seconds, the supervisor sends one. It waits for the label
# _EXTRA_S longer than a request would.
_QUIET_S, _EXTRA_S = 2.0, 1.0
# The lines that the pipeline prints; `service` logs them unchanged.
OUTPUT = get_logger("pipeline")


class Supervisor:
    """Starts the pipeline in its own process group and supervises it.

    After some errors Paddle Serving kills its whole process group with ``kill -9``.

    Args:
        settings: number of threads and timeouts.
        command: starts the pipeline.
        run_dir: where it runs.
        connection: used for the readiness probe, which is a real prediction.
        health: the state, which is updated.
    """

    def __init__(
        self,
        settings: Settings,
        command: list[str],
        run_dir: RunDir,
        connection: PipelineConnection,
        health: Health,
    ):
        self._command, self._folder = command, run_dir.path
        self._environment = run_dir.pipeline_environment(settings.local["thread_num"])
        self._connection, self._health = connection, health
        self._start_timeout = settings.service["start_timeout_s"]
        self._answer_timeout = settings.service["request_timeout_s"] + _EXTRA_S
        self._process: asyncio.subprocess.Process | None = None
        self._ends: list[float] = []
        self._failed_starts = 0  # in a row
        self._too_slow = False
        self._last_error = ""

    async def run(self) -> int:
        """Keep the pipeline running until `stop`, or until it fails too often; return a status."""
        while True:
            status = await self._run_once()
            if self._health.state is State.STOPPING:
                return 0
            if status == 0:  # paddle_serving_server.serve stop
                return self._fail(0, "the pipeline was stopped from outside")
            if status == EXIT_USER_ERROR:
                return self._fail(status, self._last_error or f"the pipeline failed: {_SEE_LOG}")
            reason = self._reason_to_give_up()
            if reason:
                return self._fail(EXIT_FAILED, f"{reason} [service]")
            self._health.restarts += 1
            ending = f"signal {-status}" if status < 0 else f"status {status}"
            self._health.become(State.RESTARTING, f"the prediction process exited ({ending})")

    def _reason_to_give_up(self) -> str:
        """Return why another start would not help, or ""."""
        now = time.monotonic()
        self._ends = [end for end in self._ends if now - end < RESTART_WINDOW_S] + [now]
        if self._too_slow and self._health.state is State.STARTING:
            slow = f"no answer within {self._start_timeout:g} s of the start"
            return f"{slow}: raise start_timeout_s if that is too short; {_SEE_LOG}"
        if self._failed_starts > MAX_RESTARTS:
            return f"the pipeline was not ready after {self._failed_starts} starts: {_SEE_LOG}"
        if len(self._ends) > MAX_RESTARTS:
            window = f"{RESTART_WINDOW_S:.0f} s"
            return f"the pipeline ended {len(self._ends)} times in {window}: {_SEE_LOG}"
        return ""

    def restart(self, reason: str) -> None:
        """Kill the pipeline; `run` starts it again."""
        if self._health.state is State.READY:
            get_logger().error("killing the pipeline: %s", reason)
            self._health.become(State.RESTARTING, reason)
            self._kill()

    def announce_stop(self) -> None:
        """Reject new requests and do not restart the pipeline; in-flight calls continue."""
        self._health.become(State.STOPPING, "the service was asked to stop")

    def kill(self) -> None:
        """Kill the pipeline and do not restart it; in-flight calls are answered with an error."""
        self.announce_stop()
        self._kill()

    async def stop(self, patience: float) -> None:
        """Send SIGTERM to the pipeline, and kill what still runs after ``patience`` seconds."""
        self.announce_stop()
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._process.wait()), patience)
        self._kill()

    def _kill(self) -> None:
        """Kill the pipeline's process group, if it still exists."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        """Start the pipeline; return its exit status after it and its group have exited."""
        self._failed_starts += 1
        self._too_slow = False
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        if self._health.state is State.STOPPING:  # `stop` was called meanwhile
            self._kill()
        self._health.pid = self._process.pid
        output = asyncio.ensure_future(self._copy_lines(self._process.stdout))
        probe = asyncio.ensure_future(self._probe())
        try:
            return await self._process.wait()
        finally:
            self._kill()
            probe.cancel()
            await asyncio.wait([output, probe], timeout=1.0)  # the last lines say why it exited

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
                self._last_error = text.split("error: ", 1)[1]
            OUTPUT.info("%s", text[:_LONGEST_LINE])

    async def _probe(self) -> None:
        if await self._become_ready():
            while True:
                await self._probe_when_quiet()

    async def _become_ready(self) -> bool:
        """Probe until the pipeline labels a text; kill it if that takes too long."""
        start = time.monotonic()
        while (left := start + self._start_timeout - time.monotonic()) > 0:
            with contextlib.suppress(RequestError):
                response = await self._connection.predict(text_message("ready ?"), left)
                if response.err_no == ErrNo.OK and list(response.key)[:2] == ["label_id", "prob"]:
                    self._failed_starts = 0
                    self._health.answered()
                    self._health.become(State.READY, f"after {time.monotonic() - start:.1f} s")
                    return True
            await asyncio.sleep(_PROBE_PAUSE_S)
        self._too_slow = True
        get_logger().error("no answer within %s s of the start", self._start_timeout)
        self._kill()
        return False

    async def _probe_when_quiet(self) -> None:
        """Send a text if none was labelled recently; restart a pipeline that does not answer."""
        sent = time.monotonic()
        quiet = sent - self._health.last_answer
        if quiet < _QUIET_S:
            await asyncio.sleep(_QUIET_S - quiet)
            return
        try:
            response = await self._connection.predict(text_message("ready ?"), self._answer_timeout)
            if response.err_no == ErrNo.OK:
                self._health.answered()
        except RequestError as error:
            if error.err_no is ErrNo.TIMEOUT and self._health.last_answer < sent:
                self.restart(f"it answered nothing for {self._answer_timeout} s")
        await asyncio.sleep(_PROBE_PAUSE_S)

    def _fail(self, status: int, reason: str) -> int:
        self._health.state, self._health.reason = State.FAILED, reason
        if status:
            print(f"error: {reason}", file=sys.stderr, flush=True)
        return status
