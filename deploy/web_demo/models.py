"""The model of the page: worker.py in a separate process, connected by pipes."""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddlenlp.utils.errors import UserError

WORKER = Path(__file__).resolve().with_name("worker.py")
# Flags of app.py and of worker.py. One of them names the model; the default is the bundled model.
MODEL_FLAGS = {
    "model_path": "checkpoint directory (default: the bundled model)",
    "model_dir": "exported directory (convbert_infer)",
    "url": "a running service instead of a model: labels and probabilities only",
}


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the `MODEL_FLAGS`, of which only one may be given."""
    group = parser.add_mutually_exclusive_group()
    for name, help in MODEL_FLAGS.items():
        group.add_argument(f"--{name}", help=help)


class Model:
    """A checkpoint, an exported model or a running service, behind worker.py.

    Args:
        python: the interpreter that has Paddle.
        args: has the `MODEL_FLAGS`.
        limits: largest number of texts in a request, and of characters in a text.

    Raises:
        UserError: the model cannot be opened; the reason is printed above.

    Attributes:
        explains: whether texts can be explained.
        kernels: whether an explanation has a picture.
    """

    def __init__(self, python: Path, args: argparse.Namespace, limits: Sequence[int]):
        values = {name: getattr(args, name) for name in MODEL_FLAGS}
        flags = [f"--{name}={value}" for name, value in values.items() if value]
        self._limits = limits
        self._process = subprocess.Popen(
            [python, WORKER, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._lock = threading.Lock()
        ready = self._read()
        self.explains, self.kernels = ready["explains"], ready["kernels"]

    def ask(self, texts: Sequence[str], layer: int | None = None) -> dict[str, Any]:
        """Label each text, or explain the first one.

        Args:
            texts: the texts.
            layer: number from 1 of the layer in the picture; None: no explanation.

        Returns:
            "answers": the label and the probability of each text. With ``layer``: only those of the
            first text, "words", an HTML fragment, and for a checkpoint "picture", a PNG in base64.

        Raises:
            UserError: a text has no words, the limits are exceeded, or the service did not answer.
        """
        request = {"texts": texts, "layer": layer, "limits": self._limits}
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except OSError:
                pass  # the worker has exited: `_read` reports it
            answer = self._read()
        if "error" in answer:
            raise UserError("text", answer["error"])
        return answer

    def close(self) -> None:
        """End the worker."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise UserError("step-failed", f"{WORKER.name} exited: see the lines above")
        return json.loads(line)
