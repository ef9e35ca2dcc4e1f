"""Real services for tests: started as a user would, on free ports, in folders of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from convbert.serving import control
from convbert.serving.run_dir import find_running

SERVING = Path(__file__).resolve().parents[2] / "deploy" / "serving_python"
# A start takes some five seconds on a quiet machine.
PATIENCE_S = 90.0


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A running service and what tests ask of it."""

    def __init__(self, model_dir: Path, run_dir: Path, *opts: str, flags: tuple[str, ...] = ()):
        self.port, self.rpc_port, self.run_dir = free_port(), free_port(), run_dir
        self._flags = [f"--model_dir={model_dir}", f"--run_dir={run_dir}", *flags]
        self._flags += [f"--port={self.port}", f"--rpc_port={self.rpc_port}"]
        self._flags += ["--opt", "service.max_seq_len=64", *opts]

    def command(self) -> list[str]:
        """The command line that runs it in the foreground."""
        return [sys.executable, str(SERVING / "web_service.py"), *self._flags]

    def start(self) -> Served:
        """Start in the background, as `serving.sh start` does, and return when it is ready."""
        command = [sys.executable, str(SERVING / "control.py"), "start", *self._flags]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=str(self.run_dir)
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.log()}"
        return self

    def __enter__(self) -> Served:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        return self.start()

    def __exit__(self, *exception: Any) -> None:
        control.stop(str(self.run_dir))

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return find_running(str(self.run_dir)).pid

    def log(self) -> str:
        """Everything it logged."""
        path = self.run_dir / "logs" / "serving.log"
        return path.read_text() if path.exists() else ""

    def http(
        self,
        body: Any,
        path: str = "/convbert/prediction",
        method: str = "POST",
        timeout: float = 60,
    ) -> tuple[int, Any]:
        """Send a body (bytes as they are, else as JSON); return HTTP status and answer."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        is_json = response.headers.get("content-type") == "application/json"
        return response.status, json.loads(answer) if is_json else answer.decode()

    def ask(self, *texts: str, timeout: float = 60) -> tuple[int, dict]:
        """Ask for the labels of texts in one request."""
        return self.http({"key": ["text"] * len(texts), "value": list(texts)}, timeout=timeout)

    def health(self) -> dict | None:
        """What GET /health says; None when nobody answers."""
        running = find_running(str(self.run_dir))
        return running and control.health(running)

    def wait_for(self, status: str, seconds: float = PATIENCE_S) -> float:
        """Wait until GET /health has this status; return the seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            state = self.health()
            if state and state["status"] == status:
                return time.monotonic() - began
            time.sleep(0.02)
        raise AssertionError(f"not {status} within {seconds} s: {self.health()}\n{self.log()}")

    def family(self) -> list[int]:
        """The process ids of the supervisor and all its descendants."""
        return [self.pid, *descendants(self.pid)]


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may just have ended
            parent = stat.read_text().rpartition(")")[2].split()[1]
            found += [int(stat.parent.name)] if int(parent) == pid else []
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    below = children(pid)
    return below + [far for child in below for far in descendants(child)]


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pids: list[int], seconds: float) -> list[int]:
    """Wait until the processes are gone; return those that are not."""
    began = time.monotonic()
    while any(map(alive, pids)) and time.monotonic() - began < seconds:
        time.sleep(0.02)
    return [pid for pid in pids if alive(pid)]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal."""
    os.kill(pid, number)


def listening(port: int) -> list[str]:
    """Return the local addresses, as the kernel writes them, on which a port is listened to."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.rpartition(":")
            if state == "0A" and int(number, 16) == port:
                found.append(address)
    return found
