"""What a configuration needs of this machine, packages and GPUs, asked before anything runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

from paddlenlp.utils.errors import UserError
from tipc.config import Config
from tipc.slots import TRAIN_MODES

SETUP = "bash shell/serving.sh setup"  # the whole of .venv but ONNX, as README.md says
ONNX_SETUP = ".venv/bin/pip install -r requirements-onnx.txt"
PACKAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "train_infer": (("paddle",), SETUP),
    "benchmark": (("paddle",), SETUP),
    "serving": (("paddle", "paddle_serving_server"), SETUP),
    "paddle2onnx": (("paddle", "paddle2onnx", "onnxruntime"), f"{SETUP} && {ONNX_SETUP}"),
}
# Each prints what is wrong, or an empty line. Packages are looked for; an import takes seconds.
FIND_PACKAGES = """
import importlib.util, sys
print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None], sep=", ")
"""
COUNT_GPUS = """
import sys, paddle
built = paddle.is_compiled_with_cuda()
count = paddle.device.cuda.device_count() if built else 0
enough = count >= int(sys.argv[1])
print("" if enough else f"sees {count}" if built else "has no GPU support")
"""


def check_needs(config: Config, kind: str) -> None:
    """Refuse a configuration whose Python lacks packages, or that wants more GPUs than there are.

    Args:
        config: for the mode that will be run.
        kind: a key of `PACKAGES`.

    Raises:
        UserError: with the line, what is missing, and how to mend it.
    """
    packages, setup = PACKAGES[kind]
    python = config.value("python")
    missing = missing_packages(python, packages)
    if missing:
        raise config.fail("python", f"{python} has no {missing}: run {setup}")
    for slot, value, count in wanted_gpus(config, kind):
        found = _ask(python, COUNT_GPUS, str(count))
        if found:
            message = f"'{value}' needs {count} GPU(s), the Paddle of {python} {found}"
            raise config.fail(slot, f"{message}: write '{CPU_VALUES[slot]}' for the CPU")


def missing_packages(python: str, packages: Sequence[str]) -> str:
    """Return the names of the packages that ``python`` does not find, with commas.

    Raises:
        UserError: it does not run.
    """
    return _ask(python, FIND_PACKAGES, *packages)


CPU_VALUES = {"gpu_list": "-1", "use_gpu": "False", "device_type": "0"}


def wanted_gpus(config: Config, kind: str) -> Iterator[tuple[str, str, int]]:
    """Slots that this mode uses and that ask for GPUs: slot, value, how many on this node."""
    if kind == "serving":
        yield from (
            ("device_type", value, 1) for value in config.values("device_type") if value == "1"
        )
        return
    if kind == "benchmark" or config.mode in TRAIN_MODES:
        for value in config.values("gpu_list"):
            cards = value.rpartition(";")[2].split(",")
            if cards[0] != "-1":
                yield "gpu_list", value, max(map(int, cards)) + 1
    if kind == "train_infer":
        yield from (("use_gpu", value, 1) for value in config.values("use_gpu") if value == "True")


def _ask(python: str, question: str, *words: str) -> str:
    run = subprocess.run([python, "-c", question, *words], capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError("environment", f"'{python}' does not run ({reason})")
    return run.stdout.strip()
