"""Starting a service in the background, stopping it, and asking how it is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from convbert.serving.run_dir import CONSOLE_FILE, LOG_FILE, Running, find_running
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir

EXIT_READY, EXIT_NOT_READY, EXIT_NOT_RUNNING = 0, 1, 3
# The service promises five seconds; after these it is killed.
STOP_WAIT_S = 6.0
_POLL_S = 0.1
_HEALTH_TIMEOUT_S = 2.0


def health(running: Running) -> dict | None:
    """Return what GET /health says, or None when nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{running.url}/health", timeout=_HEALTH_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:  # 503: not ready
        with contextlib.suppress(ValueError):
            return json.load(error)
    except (OSError, ValueError):
        pass
    return None


def start(script: str, argv: list[str], run_dir: str) -> int:
    """Start ``script`` in a session of its own and wait until it is ready or has ended."""
    running = find_running(run_dir)
    if running:
        raise UserError(
            "busy", f"already running, pid {running.pid}: stop it, or give another --run_dir"
        )
    console = os.path.join(run_dir, CONSOLE_FILE)
    ensure_writable_dir(os.path.dirname(console))
    began = time.monotonic()
    with open(console, "w") as file:
        process = subprocess.Popen(
            [sys.executable, script, *argv, "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = _wait_until_ready(process, run_dir)
    if running is None:
        with open(console) as file:
            sys.stderr.write(file.read())
        if process.returncode == 0:
            print("stopped before it was ready", file=sys.stderr)
        return process.returncode or EXIT_NOT_READY
    seconds = time.monotonic() - began
    print(f"ready: {running.url}/convbert/prediction, gRPC port {running.rpc_port}, ", end="")
    print(f"pid {running.pid}, after {seconds:.1f} s; log {os.path.join(run_dir, LOG_FILE)}")
    return EXIT_READY


def _wait_until_ready(process: subprocess.Popen, run_dir: str) -> Running | None:
    """Wait for the process to be ready; None when it ends instead (it bounds its own start)."""
    try:
        while process.poll() is None:
            running = find_running(run_dir)
            if running and running.pid == process.pid:
                state = health(running)
                if state and state["status"] == "ready":
                    return running
            time.sleep(_POLL_S)
    except BaseException:  # Ctrl-C while waiting
        process.terminate()
        raise
    return None


def stop(run_dir: str) -> int:
    """Stop the service of a run folder and all its processes."""
    running = find_running(run_dir)
    if running is None:
        print("not running")
        return 0
    began = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    while running.alive and time.monotonic() - began < STOP_WAIT_S:
        time.sleep(_POLL_S)
    if running.alive:
        os.kill(running.pid, signal.SIGKILL)  # the pipeline is told to die with it
        print(f"killed pid {running.pid}, which did not stop within {STOP_WAIT_S:.0f} s")
        return EXIT_NOT_READY
    print(f"stopped pid {running.pid} in {time.monotonic() - began:.1f} s")
    return 0


def status(run_dir: str) -> int:
    """Print how the service is, in one line, and return 0 ready, 1 not ready, 3 not running."""
    text, code = describe(run_dir)
    print(text)
    return code


def describe(run_dir: str) -> tuple[str, int]:
    """Return the line and the exit status of `status`."""
    running = find_running(run_dir)
    if running is None:
        return "not running", EXIT_NOT_RUNNING
    state = health(running)
    if state is None:
        line = (
            f"not ready: pid {running.pid} does not answer at {running.url}, for example stopping"
        )
        return line, EXIT_NOT_READY
    line = (
        f"{state['status']}: pid {running.pid}, {running.url}, gRPC port {running.rpc_port}, "
        f"up {state['uptime_s']} s, {state['restarts']} restarts, {state['reason']}"
    )
    return line, EXIT_READY if state["status"] == "ready" else EXIT_NOT_READY
