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
from contextlib import suppress
from typing import IO

import psutil

MARK = "TIPC_STEP"  # environment variable that all descendants of a command inherit
STOP_SECONDS = 15.0  # for a command to exit after SIGTERM
LEFTOVER_SECONDS = 2.0  # for the processes that it leaves behind
HEALTH_SECONDS = 2.0
POLL_SECONDS = 0.05


class Interrupted(Exception):
    """The run received the signal ``number``."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class SignalFlag:
    """Remembers the first SIGINT, SIGTERM or SIGHUP, so that no signal interrupts a clean-up."""

    def __init__(self):
        self.received: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._remember)

    def _remember(self, number, frame) -> None:
        self.received = self.received or number

    def check(self) -> None:
        """Raise `Interrupted` if a signal was received."""
        if self.received:
            raise Interrupted(self.received)


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
        if self.status() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        return self.status()

    def end_leftovers(self) -> None:
        """Stop the processes that the command has left behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = self._members()
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            if wait_until(lambda left=left: not any(map(is_running, left)), LEFTOVER_SECONDS):
                break

    def _members(self) -> list[psutil.Process]:
        """Running processes with our mark; those of other users cannot be read."""
        found = psutil.process_iter(["environ"])
        return [
            process for process in found if (process.info["environ"] or {}).get(MARK) == self._mark
        ]


def is_running(process: psutil.Process) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; False if it does not hold within the time limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def health(url: str) -> dict | None:
    """The content of a health page, or None while it does not answer with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_SECONDS) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of the loopback address that are not in use now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in sockets)
    finally:
        for probe in sockets:
            probe.close()


def is_open(port: int) -> bool:
    """Whether something listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
