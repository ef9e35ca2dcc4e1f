"""Real services for tests: started as a user would, on free ports, in folders of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from convbert.serving.process.service_dir import find_running
from deploy.serving_python import control
from tests.helpers.local_server import free_port
from tests.helpers.waiting import PATIENCE_S, wait_until

SERVING = Path(__file__).resolve().parents[2] / "deploy" / "serving_python"
CONTROL, WEB_SERVICE = SERVING / "control.py", SERVING / "web_service.py"
HTTP_CLIENT, RPC_CLIENT = SERVING / "pipeline_http_client.py", SERVING / "pipeline_rpc_client.py"


class Served:
    """A running service and what tests ask of it."""

    def __init__(self, model_dir: Path, run_dir: Path, *opts: str, flags: tuple[str, ...] = ()):
        self.port, self.rpc_port, self.run_dir = free_port(), free_port(), run_dir
        self.flags = [f"--model_dir={model_dir}", f"--run_dir={run_dir}", *flags]
        self.flags += [f"--port={self.port}", f"--rpc_port={self.rpc_port}"]
        self.flags += ["--opt", "service.max_seq_len=64", *opts]

    def command(self) -> list[str]:
        """The command line that runs it in the foreground."""
        return [sys.executable, str(WEB_SERVICE), *self.flags]

    def start(self) -> Served:
        """Start in the background, as `serving.sh start` does, and return when it is ready."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(CONTROL), "start", *self.flags],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=str(self.run_dir),
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.log()}"
        return self

    def __enter__(self) -> Served:
        return self.start()

    def __exit__(self, *exception: Any) -> None:
        control.stop(str(self.run_dir))

    @contextlib.contextmanager
    def foreground(self, **options: Any):
        """Run it in the foreground; yield the process, and end it."""
        process = subprocess.Popen(self.command(), text=True, **options)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)

    @property
    def process(self) -> psutil.Process:
        """The supervisor's process."""
        return find_running(str(self.run_dir)).process()

    @property
    def pipeline(self) -> psutil.Process:
        """The pipeline's main process."""
        return psutil.Process(self.health()["pipeline_pid"])

    def family(self) -> list[psutil.Process]:
        """The supervisor's process and all below it."""
        return [self.process, *self.process.children(recursive=True)]

    @property
    def url(self) -> str:
        """Where predictions are asked for."""
        return f"http://127.0.0.1:{self.port}/convbert/prediction"

    @property
    def address(self) -> str:
        """Of the gRPC server."""
        return f"127.0.0.1:{self.rpc_port}"

    def log(self) -> str:
        """Everything it logged."""
        path = self.run_dir / "logs" / "serving.log"
        return path.read_text() if path.exists() else ""

    def http(
        self,
        body: Any = None,
        path: str = "/convbert/prediction",
        method: str = "POST",
        timeout: float = 60,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Send a body (bytes as they are, else as JSON); return HTTP status and answer."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, data, headers)
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
        """What GET /health says; None when there is no answer."""
        running = find_running(str(self.run_dir))
        return running and control.health(running)

    def metrics(self) -> str:
        """What GET /metrics answers."""
        return self.http(path="/metrics", method="GET")[1]

    def kill_pipeline(self) -> None:
        """Kill the pipeline's main process, and wait until another one is ready."""
        self.pipeline.kill()
        self.wait_for("restarting")
        self.wait_for("ready")

    def wait_for(self, status: str) -> None:
        """Wait until GET /health has this status."""
        wait_until(lambda: (self.health() or {}).get("status") == status, self.log)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those of the processes that still run."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return found


def wait_gone(processes: list[psutil.Process]) -> None:
    """Wait until the processes have ended."""
    wait_until(lambda: not alive(processes), lambda: str(alive(processes)))


def listening(port: int) -> set[str]:
    """Return the addresses on which a TCP port is listened to."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
