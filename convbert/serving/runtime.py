"""Process plumbing: follow the parent into death, environment of the pipeline's process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

LOOPBACK = "127.0.0.1"
# Emptied at each start, hence a name that nobody's own folder has.
TEMPORARY = "serving-tmp"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A Unix socket's path holds 108 bytes; the pipeline's manager adds about 45 to its folder.
_LONGEST_SOCKET_DIR = 60


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to send this process ``number`` when its parent ends, however that happens."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), number)


def kill_group(group: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def host_port(host: str, port: int) -> str:
    """Return ``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reached_at(host: str, port: int) -> str:
    """Return ``HOST:PORT`` at which this machine reaches what listens on ``host``."""
    return host_port(LOOPBACK if host in ("0.0.0.0", "::", "") else host, port)


def pipeline_environment(run_dir: str, threads: int) -> dict[str, str]:
    """Return the environment of the pipeline's process.

    Paddle Serving writes ProcessInfo.json into SERVING_HOME, multiprocessing its sockets into
    TMPDIR: both are the service's own folder, unless its path is too long for a socket.
    """
    environment = dict(os.environ, SERVING_HOME=run_dir, PYTHONUNBUFFERED="1")
    environment["OMP_NUM_THREADS"] = str(threads)
    temporary = os.path.join(run_dir, TEMPORARY)
    if len(temporary) <= _LONGEST_SOCKET_DIR:
        environment["TMPDIR"] = temporary
    return environment
