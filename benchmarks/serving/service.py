"""A model of a published size, and the service to measure with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.models import MODELS, export_random, quantize_random, random_classifier
from benchmarks.serving.clients import Load
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError

CONFIG = ROOT / "deploy" / "serving_python" / "config.yml"
WEB_SERVICE = CONFIG.with_name("web_service.py")
START_S = 180.0
ENVIRONMENT = dict(os.environ)  # a copy, because this program changes its own
CALIBRATION_TEXTS = 30  # speed does not depend on the calibrated ranges


def make_models(size: str, work: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """Export a random model and convert it, unquantized (kind "float") and quantized ("int8").

    Returns:
        The served directories by kind.
    """
    from convbert.serving.served_model import convert

    exported = {"float": work / "float", "int8": work / "int8"}
    model = random_classifier(ConvBertConfig(**MODELS[size]), work / "weights.npz")
    export_random(model, exported["float"])
    if "int8" in kinds:
        quantize_random(exported["float"], exported["int8"], CALIBRATION_TEXTS)
    served = {kind: work / f"served-{kind}" for kind in kinds}
    for kind, folder in served.items():
        convert(str(exported[kind]), str(folder), str(work / f"client-{kind}"))
    return served


class Service:
    """The service, started for a measurement; a context manager that stops it.

    It gets the environment with which the measuring program was started, without the program's own
    changes, and keeps compiled models beside ``folder``.

    Args:
        served: converted model.
        folder: working directory, for the files of the service.
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
                env={**ENVIRONMENT, "XDG_CACHE_HOME": str(self.folder.parent / "cache")},
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
        if self._process.poll() is None:
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
