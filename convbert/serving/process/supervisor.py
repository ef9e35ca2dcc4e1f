"""Keeps the pipeline's process running, and sends requests to it for the front end."""

import asyncio
import contextlib
import os
import signal
import sys
import time

import grpc

from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.process.service_dir import LOG_FILE, pipeline_environment
from convbert.serving.protocol import (
    CHANNEL_OPTIONS,
    ErrNo,
    RequestError,
    State,
    text_message,
    unary_call,
)
from paddlenlp.utils.log import get_logger

# Give up if the pipeline exits more often than this within the window, or more often in a row
# before it is ready.
MAX_RESTARTS, RESTART_WINDOW_S = 3, 60.0
EXIT_FAILED = 1
# After SIGTERM the pipeline has this many seconds for in-flight calls; see STOP_GRACE_S in
# pipeline.server.
STOP_S = 4.0
# Calls wait this much longer than the pipeline, so that the pipeline times out first.
_EXTRA_S = 0.5
# A text is sent if none was labelled for _QUIET_S seconds; after SILENT_S seconds without a label
# the service is not reported as ready.
_QUIET_S, SILENT_S = 2.0, 4.5
_PROBE_PAUSE_S = 0.1
_LONGEST_LINE = 1000  # characters
_SEE_LOG = f"{LOG_FILE} in --run_dir says why"
_STATUS_ERRORS = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ErrNo.BUSY, "the service is busy: try again"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (ErrNo.TIMEOUT, "no answer in time"),
    grpc.StatusCode.UNAVAILABLE: (ErrNo.STOPPED, "the prediction process is not running"),
}
# The lines that the pipeline prints; `service` logs them unchanged.
OUTPUT = get_logger("pipeline")


class Supervisor:
    """Runs the pipeline in its own process group, restarts it, and sends requests to it.

    After some errors Paddle Serving kills its whole process group with ``kill -9``. ``command``
    starts the pipeline; ``run_dir`` is where it runs.
    """

    def __init__(self, settings: Settings, command: list[str], run_dir: str):
        self.restarts = 0
        self.pid: int | None = None
        self._settings, self._command, self._folder = settings, command, run_dir
        self._environment = pipeline_environment(run_dir, settings["thread_num"])
        self._state, self._reason = State.STARTING, "the model is being loaded"
        self._last_answer = time.monotonic()  # when a text was labelled, for a request or a probe
        self._process: asyncio.subprocess.Process | None = None
        self._exits: list[float] = []
        self._failed_starts = 0  # in a row
        self._last_error = ""  # the last line of the pipeline that contains "error: "
        self._give_up = ""  # why it is not started again
        channel = grpc.aio.insecure_channel(str(settings.rpc.local), options=CHANNEL_OPTIONS)
        self._call = unary_call(channel)

    def state(self) -> tuple[State, str]:
        """Return the state and the reason for it."""
        silent = time.monotonic() - self._last_answer
        if self._state is State.READY and silent > SILENT_S:
            return State.SILENT, f"no text was labelled for {silent:.0f} s"
        return self._state, self._reason

    def require_ready(self) -> None:
        """Raise `RequestError` unless requests can be sent, also to a silent pipeline."""
        if self._state is not State.READY:
            reason = f"the service is {self._state.value}: {self._reason}"
            raise RequestError(reason, ErrNo.STOPPED)

    async def predict(self, request):
        """Return the Response message to a Request message.

        A pipeline that labels nothing while it has a request is restarted.

        Raises:
            RequestError: no answer in time, busy, or not running.
        """
        sent, timeout = time.monotonic(), self._settings["request_timeout_s"] + _EXTRA_S
        try:
            response = await self._call(request, timeout=timeout)
        except grpc.RpcError as error:
            unknown = (ErrNo.INTERNAL, "the prediction process failed")
            if self._state is State.STOPPING:
                unknown = (ErrNo.STOPPED, "the service stopped before it could answer")
            err_no, message = _STATUS_ERRORS.get(error.code(), unknown)
            unanswered = err_no is ErrNo.TIMEOUT and self._last_answer < sent
            if unanswered and self._state is State.READY:
                get_logger().error("killing the pipeline: it answered nothing for %s s", timeout)
                self._become(State.RESTARTING, f"it answered nothing for {timeout} s")
                self._kill()
            raise RequestError(message, err_no) from None
        if response.err_no == ErrNo.OK:
            self._last_answer = time.monotonic()
        return response

    async def run(self) -> int:
        """Keep the pipeline running until `stop`, or until it fails too often; return a status."""
        while True:
            status = await self._run_once()
            if self._state is State.STOPPING or status == 0:  # 0: paddle_serving_server.serve stop
                return 0
            now = time.monotonic()
            self._exits = [end for end in self._exits if now - end < RESTART_WINDOW_S] + [now]
            if max(len(self._exits), self._failed_starts) > MAX_RESTARTS:
                self._give_up = f"the pipeline ended {MAX_RESTARTS + 1} times: {_SEE_LOG} [service]"
            if status == EXIT_USER_ERROR or self._give_up:
                error = self._give_up or self._last_error or f"the pipeline failed: {_SEE_LOG}"
                self._become(State.STOPPING, error)
                print(f"error: {error}", file=sys.stderr, flush=True)
                return EXIT_FAILED if self._give_up else EXIT_USER_ERROR
            self.restarts += 1
            ending = f"signal {-status}" if status < 0 else f"status {status}"
            self._become(State.RESTARTING, f"the prediction process exited ({ending})")

    async def stop(self) -> None:
        """Reject new requests, let the pipeline finish in-flight calls, and end it."""
        self._become(State.STOPPING, "the service was asked to stop")
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._process.wait()), STOP_S)
        self._kill()

    def _become(self, state: State, reason: str) -> None:
        """Change the state and log the change; STOPPING is final."""
        if self._state not in (State.STOPPING, state):
            get_logger().info("%s: %s", state.value, reason)
            self._state, self._reason = state, reason

    def _kill(self) -> None:
        """Kill the pipeline's process group, if it still exists."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        """Start the pipeline; return its exit status after it and its group have exited."""
        self._failed_starts += 1  # until it is ready
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        if self._state is State.STOPPING:  # `stop` was called meanwhile
            self._kill()
        self.pid = self._process.pid
        output = asyncio.ensure_future(self._copy_lines(self._process.stdout))
        probing = asyncio.ensure_future(self._probe())
        try:
            return await self._process.wait()
        finally:
            self._kill()
            probing.cancel()
            await asyncio.wait([output, probing], timeout=1.0)  # the last lines say why it exited

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
        """Send a text until the pipeline labels it, and later whenever no other was labelled."""
        start, start_timeout = time.monotonic(), self._settings["start_timeout_s"]
        try:
            await asyncio.wait_for(self._until_labelled(), start_timeout)
        except asyncio.TimeoutError:
            slow = f"no answer within {start_timeout:g} s of the start"
            get_logger().error("killing the pipeline: %s", slow)
            if self._state is State.STARTING:  # another start would be as slow
                advice = "raise start_timeout_s if that is too short"
                self._give_up = f"{slow}: {advice}; {_SEE_LOG} [service]"
            self._kill()
            return
        self._failed_starts = 0
        self._become(State.READY, f"after {time.monotonic() - start:.1f} s")
        while True:
            quiet_until = self._last_answer + _QUIET_S
            await asyncio.sleep(max(_PROBE_PAUSE_S, quiet_until - time.monotonic()))
            if self._last_answer + _QUIET_S <= time.monotonic():
                with contextlib.suppress(RequestError):
                    await self.predict(text_message("ready ?"))

    async def _until_labelled(self) -> None:
        while True:
            with contextlib.suppress(RequestError):
                response = await self.predict(text_message("ready ?"))
                if response.err_no == ErrNo.OK and list(response.key)[:2] == ["label_id", "prob"]:
                    return
            await asyncio.sleep(_PROBE_PAUSE_S)
