"""A model of a published size, and the service that is measured with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.models import ROOT, export_random, random_classifier
from benchmarks.serving.clients import Load
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError

WEB_SERVICE = ROOT / "deploy" / "serving_python" / "web_service.py"
START_S = 180.0
ENVIRONMENT = dict(os.environ)  # before this program changes its own


def make_model(size: str, folder: Path) -> tuple[Path, Path]:
    """Export and convert a random model; return both directories."""
    from convbert.serving.served_model import convert

    exported, served = folder / "exported", folder / "served"
    folder.mkdir()
    export_random(random_classifier(ConvBertConfig.preset(size), folder / "weights.npz"), exported)
    convert(str(exported), str(served), str(folder / "client"))
    return exported, served


class Service:
    """The service, started for a measurement; a context manager that stops it.

    It gets the environment that the measuring program was started with, none of its settings.

    Args:
        served: converted model.
        folder: working directory, for what the service writes.
        settings: ``KEY=VALUE`` of config.yml that differ from the shipped ones.
    """

    def __init__(self, served: Path, folder: Path, settings: list[str]):
        self.folder, (self.port, rpc_port) = folder, free_ports(2)
        self._command = [sys.executable, str(WEB_SERVICE), "--model_dir", str(served)]
        self._command += ["--port", str(self.port), "--rpc_port", str(rpc_port)]
        self._command += ["--run_dir", str(folder / "run")]
        self._command += ["--opt", *settings] if settings else []

    def __enter__(self) -> Service:
        self.folder.mkdir(parents=True)
        with open(self.folder / "output.txt", "w") as output:
            self._process = psutil.Popen(
                self._command,
                cwd=str(self.folder),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            if Load(self.port, 1, 0.1, ["ready ?"]).run()["answers"]:
                return self
            time.sleep(0.2)
        self.__exit__()
        output = (self.folder / "output.txt").read_text()
        raise UserError("service", f"the service did not start: {output[-2000:]}")

    def __exit__(self, *exception: Any) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except psutil.TimeoutExpired:
            for process in [*self._process.children(recursive=True), self._process]:
                process.kill()
            self._process.wait()

    def memory_mb(self) -> float:
        """Return the resident memory of all processes of the service."""
        family = [self._process, *self._process.children(recursive=True)]
        return round(sum(process.memory_info().rss for process in family) / 1e6, 1)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that are free."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
