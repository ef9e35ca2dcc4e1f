"""The run folder of one service: its lock, its process id, its logs, its temporary files."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from convbert.serving.config import Settings
from paddlenlp.utils.files import ensure_writable_dir, exclusive, write_json
from paddlenlp.utils.parsing import read_json_file

STATE_FILE = "service.json"
LOCK_FILE = "lock"
LOG_FILE = "logs/serving.log"
CONSOLE_FILE = "logs/console.log"
# It is emptied at each start, so its name must not be one that a user may choose.
TEMPORARY = "serving-tmp"
# The path of a Unix socket has at most 108 bytes; the pipeline's manager adds about 45.
_LONGEST_SOCKET_DIR = 60


@dataclass(frozen=True)
class Running:
    """A running service, and its address on this machine.

    ``started`` distinguishes its process from a later one with the same id.
    """

    pid: int
    started: float
    address: str
    rpc_port: int

    def process(self) -> psutil.Process | None:
        """Return the process, or None if it has exited."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def find_running(run_dir: str) -> Running | None:
    """Return the live service of a run folder, or None."""
    try:
        running = Running(**read_json_file(Path(run_dir) / STATE_FILE))
    except (OSError, ValueError, TypeError):
        return None
    return running if running.process() else None


def announce(run_dir: str, settings: Settings) -> None:
    """Record this process as the running service of a run folder."""
    process = psutil.Process()
    address, rpc_port = str(settings.http.local), settings.rpc.port
    running = Running(process.pid, process.create_time(), address, rpc_port)
    write_json(os.path.join(run_dir, STATE_FILE), asdict(running))


@contextlib.contextmanager
def locked(path: str) -> Iterator[str]:
    """Make a run folder if it is missing, lock it, and yield its absolute path.

    Raises:
        UserError: it cannot be written, or another service uses it.
    """
    run_dir = str(ensure_writable_dir(path).resolve())
    busy = f"a service already runs in {run_dir}: stop it, or give another --run_dir"
    with exclusive(os.path.join(run_dir, LOCK_FILE), busy):
        _clear(run_dir)
        for folder in ("logs", TEMPORARY):
            ensure_writable_dir(os.path.join(run_dir, folder))
        try:
            yield run_dir
        finally:
            _clear(run_dir)


def _clear(run_dir: str) -> None:
    """Remove the files that a stopped or killed service left."""
    for name in (STATE_FILE, "ProcessInfo.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(run_dir, name))
    shutil.rmtree(os.path.join(run_dir, TEMPORARY), ignore_errors=True)


def pipeline_environment(run_dir: str, threads: int) -> dict[str, str]:
    """Return the environment of the pipeline's process.

    Paddle Serving writes ProcessInfo.json into SERVING_HOME, and multiprocessing its sockets into
    TMPDIR. Both are in the run folder, unless its path is too long for a socket.
    """
    environment = dict(os.environ, SERVING_HOME=run_dir, PYTHONUNBUFFERED="1")
    environment["OMP_NUM_THREADS"] = str(threads)
    temporary = os.path.join(run_dir, TEMPORARY)
    if len(temporary) <= _LONGEST_SOCKET_DIR:
        environment["TMPDIR"] = temporary
    return environment
