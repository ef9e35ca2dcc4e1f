"""The model of the page: worker.py in a separate process, connected by pipes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paddlenlp.utils.errors import UserError

WORKER = Path(__file__).resolve().with_name("worker.py")
# Flags of app.py and of worker.py. One of them names the model; the default is the bundled model.
MODEL_FLAGS = {
    "model_path": "checkpoint directory (default: the bundled model)",
    "model_dir": "exported directory (convbert_infer)",
    "url": "a running service instead of a model: labels and probabilities only",
}


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the `MODEL_FLAGS`."""
    for name, help in MODEL_FLAGS.items():
        parser.add_argument(f"--{name}", help=help)


def model_flags(args: argparse.Namespace) -> list[str]:
    """Return the one of `MODEL_FLAGS` that is given, in a list; raise `UserError` for several."""
    given = [f"--{name}={getattr(args, name)}" for name in MODEL_FLAGS if getattr(args, name)]
    if len(given) > 1:
        raise UserError("command-line", f"give one of {', '.join(f'--{n}' for n in MODEL_FLAGS)}")
    return given


class Answer(NamedTuple):
    """A label and its probability."""

    label: str
    prob: float


class Model:
    """A checkpoint, an exported model or a running service, behind worker.py.

    Args:
        flags: flags of worker.py.
        python: the interpreter that has Paddle.
        limits: largest number of texts in a request, and of characters in a text.

    Raises:
        UserError: the model cannot be opened; the reason is printed above.

    Attributes:
        explains: whether `explain` works.
        kernels: whether `explain` also returns a picture.
    """

    def __init__(self, flags: Sequence[str], python: str, limits: Sequence[int]):
        self._limits = list(limits)
        command = [python, str(WORKER), *flags]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
        self._lock = threading.Lock()
        ready = self._read()
        self.explains, self.kernels = ready["explains"], ready["kernels"]

    def answers(self, texts: Sequence[str]) -> list[Answer]:
        """Label each text.

        Raises:
            UserError: a text has no words, the limits are exceeded, or the service did not answer.
        """
        return [Answer(*pair) for pair in self._ask(texts=list(texts))["answers"]]

    def explain(self, texts: Sequence[str], layer: int) -> dict[str, Any]:
        """Explain the first text: "text", "answers", and "words", an HTML fragment.

        For a checkpoint also "picture", a PNG in base64.
        """
        return self._ask(texts=list(texts), layer=layer)

    def close(self) -> None:
        """End the worker."""
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            try:
                request["limits"] = self._limits
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except OSError:
                pass  # the worker has exited: `_read` reports it
            answer = self._read()
        if "error" in answer:
            raise UserError("text", answer["error"])
        return answer

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise UserError("step-failed", f"{WORKER.name} exited: see the lines above")
        return json.loads(line)


def project_python(root: Path) -> str:
    """The interpreter of the project's environment, or this one if there is none."""
    python = root / ".venv" / "bin" / "python"
    return str(python) if python.is_file() else sys.executable
