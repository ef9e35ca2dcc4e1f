"""Starting a service in the background, stopping it, and reporting its state."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time

import psutil

from convbert.serving.process.service_dir import CONSOLE_FILE, LOG_FILE, Running, find_running
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir

EXIT_READY, EXIT_NOT_READY, EXIT_NOT_RUNNING = 0, 1, 3
# The service stops within five seconds; if it does not, it is killed after this time.
STOP_WAIT_S = 6.0
_POLL_S = 0.1
_HEALTH_TIMEOUT_S = 2.0


def health(running: Running) -> dict | None:
    """Return the answer of GET /health, or None if there is none."""
    connection = http.client.HTTPConnection(running.address, timeout=_HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return json.load(connection.getresponse())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def start(script: str, argv: list[str], run_dir: str) -> int:
    """Start ``script`` in a new session and wait until it is ready or has exited."""
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
    try:
        while process.poll() is None:  # it has its own start timeout
            running = find_running(run_dir)
            if running and running.pid == process.pid and _is_ready(running):
                seconds = time.monotonic() - began
                print(
                    f"ready: http://{running.address}/convbert/prediction, gRPC port "
                    f"{running.rpc_port}, pid {running.pid}, after {seconds:.1f} s; log "
                    f"{os.path.join(run_dir, LOG_FILE)}"
                )
                return EXIT_READY
            time.sleep(_POLL_S)
    except BaseException:  # Ctrl-C while waiting
        process.terminate()
        raise
    with open(console) as file:
        sys.stderr.write(file.read())
    if process.returncode == 0:
        print("stopped before it was ready", file=sys.stderr)
    return process.returncode or EXIT_NOT_READY


def _is_ready(running: Running) -> bool:
    return (health(running) or {}).get("status") == "ready"


def stop(run_dir: str) -> int:
    """Stop the service of a run folder and all its processes."""
    running = find_running(run_dir)
    if not running:
        print("not running")
        return 0
    began = time.monotonic()
    with contextlib.suppress(psutil.NoSuchProcess):  # it may exit meanwhile
        psutil.Process(running.pid).terminate()
    while process := running.process():
        if time.monotonic() - began > STOP_WAIT_S:
            process.kill()  # the pipeline then exits too
            print(f"killed pid {running.pid}, which did not stop within {STOP_WAIT_S:.0f} s")
            return EXIT_NOT_READY
        time.sleep(_POLL_S)
    print(f"stopped pid {running.pid} in {time.monotonic() - began:.1f} s")
    return 0


def status(run_dir: str) -> int:
    """Print the service's state in one line; return 0 if ready, 1 if not, 3 if not running."""
    running = find_running(run_dir)
    if running is None:
        print("not running")
        return EXIT_NOT_RUNNING
    state = health(running)
    if state is None:
        where = f"http://{running.address}"
        print(f"not ready: pid {running.pid} does not answer at {where}; it may be stopping")
        return EXIT_NOT_READY
    print(
        f"{state['status']}: pid {running.pid}, http://{running.address}, "
        f"gRPC port {running.rpc_port}, up {state['uptime_s']} s, {state['restarts']} restarts, "
        f"{state['reason']}"
    )
    return EXIT_READY if state["status"] == "ready" else EXIT_NOT_READY
