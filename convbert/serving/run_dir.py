"""The folder a service keeps to itself: who runs, its log, its temporary files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from convbert.serving.runtime import TEMPORARY, reached_at
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, ensure_writable_dir

STATE_FILE = "service.json"
LOCK_FILE = "lock"
LOG_FILE = "logs/serving.log"
CONSOLE_FILE = "logs/console.log"


@dataclass(frozen=True)
class Running:
    """A service that was started; ``started`` tells its process from a later one of that id."""

    pid: int
    started: str
    host: str
    port: int
    rpc_port: int

    @property
    def url(self) -> str:
        """Where this machine reaches the HTTP front."""
        return f"http://{reached_at(self.host, self.port)}"

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return bool(self.started) and process_start(self.pid) == self.started


def process_start(pid: int) -> str:
    """Return when process ``pid`` started, in clock ticks since boot; "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
    return "" if fields[0] == "Z" else fields[19]


def find_running(run_dir: str) -> Running | None:
    """Return the live service of a run folder, or None."""
    try:
        running = Running(**json.loads((Path(run_dir) / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return running if running.alive else None


class RunDir:
    """Holds a run folder for one service at a time.

    Args:
        path: made where missing.

    Raises:
        UserError: it cannot be written, or another service holds it.
    """

    def __init__(self, path: str):
        self.path = str(ensure_writable_dir(path).resolve())
        for folder in ("logs", TEMPORARY):
            ensure_writable_dir(os.path.join(self.path, folder))
        self._lock: IO = open(os.path.join(self.path, LOCK_FILE), "a")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                "busy", f"a service runs in {self.path} already: stop it, or give another --run_dir"
            ) from None
        self._clear()

    def announce(self, host: str, port: int, rpc_port: int) -> None:
        """Record this process as the running service."""
        running = Running(os.getpid(), process_start(os.getpid()), host, port, rpc_port)
        with atomic_write(os.path.join(self.path, STATE_FILE)) as file:
            json.dump(asdict(running), file)

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the service and let the next one in."""
        self._clear()
        self._lock.close()

    def _clear(self) -> None:
        """Remove what a service leaves behind, also one that was killed."""
        for name in (STATE_FILE, "ProcessInfo.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, name))
        temporary = os.path.join(self.path, TEMPORARY)
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary, exist_ok=True)

    def open_log(self, size: int, files: int) -> logging.Logger:
        """Return the logger of raw lines: a file of ``size`` bytes, of which ``files`` are kept."""
        handler = logging.handlers.RotatingFileHandler(
            os.path.join(self.path, LOG_FILE), maxBytes=size, backupCount=files - 1
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger = logging.getLogger("convbert.serving.log")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.handlers[:] = [handler]
        return logger
