"""Starting a command, stopping it with all its descendants, waiting for a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import IO

import psutil

MARK = "TIPC_STEP"  # environment variable that all descendants of a command inherit
STOP_SECONDS = 15.0  # for a command to exit after SIGTERM
LEFTOVER_SECONDS = 2.0  # for the processes that it leaves behind
HEALTH_SECONDS = 2.0
POLL_SECONDS = 0.05


def remember_signals() -> list[int]:
    """Return a list that grows with each SIGINT, SIGTERM and SIGHUP, which do nothing else.

    So no signal interrupts a clean-up. Signals that are ignored, such as SIGHUP by nohup, stay so.
    """
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: received.append(number))
    return received


class Child:
    """A command in a separate session, so that Ctrl-C reaches only the runner.

    Its descendants are found by a mark in their environment, even if their parent has exited.
    """

    def __init__(self, command: list[str], log: IO):
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, MARK: self._mark},
        )

    def status(self) -> int | None:
        """Exit status as a shell reports it (128 + N after signal N); None while it runs."""
        status = self._process.poll()
        return 128 - status if status is not None and status < 0 else status

    def end(self) -> int:
        """Terminate the command, kill it if it does not exit, and return its exit status."""
        self._process.terminate()  # does nothing if it has exited
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self.status()

    def end_leftovers(self) -> None:
        """Stop the processes that the command has left behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = psutil.process_iter(["environ"])  # None for processes of other users
            left = [each for each in found if (each.info["environ"] or {}).get(MARK) == self._mark]
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            psutil.wait_procs(left, LEFTOVER_SECONDS)


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Poll a condition; False if it does not hold within the time limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def health(url: str) -> dict:
    """The content of a health page; empty while it does not answer with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_SECONDS) as response:
            return json.load(response)
    except (OSError, ValueError):
        return {}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are not in use now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def is_open(port: int) -> bool:
    """Whether something listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
