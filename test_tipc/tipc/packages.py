"""Whether a Python has what a chain needs, asked before anything runs."""

from __future__ import annotations

import subprocess
from typing import Dict, Sequence, Tuple

from paddlenlp.utils.errors import UserError
from tipc.config import Config

SETUP = "bash shell/serving.sh setup"  # the whole of .venv but ONNX, as README.md says
ONNX_SETUP = ".venv/bin/pip install -r requirements-onnx.txt"
NEEDED: Dict[str, Tuple[Tuple[str, ...], str]] = {
    "train_infer": (("paddle",), SETUP),
    "benchmark": (("paddle",), SETUP),
    "serving": (("paddle", "paddle_serving_server"), SETUP),
    "paddle2onnx": (("paddle", "paddle2onnx", "onnxruntime"), f"{SETUP} && {ONNX_SETUP}"),
}
# Looked for, not imported: that would take seconds.
QUESTION = """
import importlib.util, sys
print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])
"""


def require_packages(config: Config, kind: str) -> None:
    """Refuse a Python that lacks a package.

    Args:
        config: names the Python.
        kind: a key of `NEEDED`.

    Raises:
        UserError: with the packages and the command that installs them.
    """
    packages, setup = NEEDED[kind]
    python = config.value("python")
    missing = missing_packages(python, packages)
    if missing:
        raise config.fail("python", f"{python} has no {missing}: run {setup}")


def missing_packages(python: str, packages: Sequence[str]) -> str:
    """Return the names of the packages that ``python`` does not find, with commas.

    Raises:
        UserError: it does not run.
    """
    words = [python, "-c", QUESTION, *packages]
    run = subprocess.run(words, capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"'{python}' does not run ({reason})")
    return ", ".join(run.stdout.split())
