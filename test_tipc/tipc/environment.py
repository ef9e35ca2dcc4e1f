"""Checks that this machine has what a configuration needs: interpreter, packages, GPUs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence

from tipc.config import Config
from tipc.formats import TRAIN_MODES

SETUP = "bash shell/serving.sh setup"  # all of .venv except ONNX
ONNX_SETUP = ".venv/bin/pip install -r requirements-onnx.txt"
PACKAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "train_infer": (("paddle",), SETUP),
    "klquant_whole_infer": (("paddle", "openvino", "nncf"), SETUP),
    "benchmark": (("paddle",), SETUP),
    "serving": (("paddle", "paddle_serving_server"), SETUP),
    "paddle2onnx": (("paddle", "paddle2onnx", "onnxruntime"), f"{SETUP} && {ONNX_SETUP}"),
}
CPU_VALUES = {"gpu_list": "-1", "use_gpu": "False", "device_type": "0"}
ANSWER = "^answer:(.*)$"  # not printed by a program that is not Python
ANSWER_SECONDS = 120
# Each prints an ANSWER with what is missing. Packages are only searched for, because importing
# takes seconds.
FIND_PACKAGES = """
import sys
missing = "Python 3.10 (it is %d.%d)" % sys.version_info[:2] if sys.version_info < (3, 10) else None
if missing is None:
    from importlib.util import find_spec
    missing = ", ".join(name for name in sys.argv[1:] if find_spec(name) is None)
print("answer:" + missing)
"""
COUNT_GPUS = """
import sys, paddle
built = paddle.is_compiled_with_cuda()
count = paddle.device.cuda.device_count() if built else 0
enough = count >= int(sys.argv[1])
print("answer:" + ("" if enough else "sees %d" % count if built else "has no GPU support"))
"""


def check_environment(config: Config, kind: str) -> None:
    """Check that the interpreter of a configuration runs and finds its packages and GPUs.

    Args:
        config: the configuration, for the mode to run.
        kind: a key of `PACKAGES`; the packages of the mode, if it has some, replace those.

    Raises:
        UserError: something is missing; the message names the line and how to correct it.
    """
    packages, setup = PACKAGES.get(config.mode, PACKAGES[kind])
    python = config.value("python")
    if missing := ask(config, FIND_PACKAGES, packages):
        message = f"{python} does not find {missing}: run {setup}"
        raise config.fail("python", message, "environment")
    for slot, value, count in wanted_gpus(config, kind):
        if found := ask(config, COUNT_GPUS, [str(count)]):
            message = f"'{value}' needs {count} GPU(s), but the Paddle of {python} {found}"
            how = f"write '{CPU_VALUES[slot]}' for the CPU"
            raise config.fail(slot, f"{message}: {how}", "device")


def wanted_gpus(config: Config, kind: str) -> Iterator[tuple[str, str, int]]:
    """The slots of this mode that request GPUs: slot, value, number on this node."""
    if kind == "serving" and "1" in config.values("device_type"):
        yield "device_type", "1", 1
    if kind == "benchmark" or config.mode in TRAIN_MODES:
        for value in config.values("gpu_list"):
            cards = value.rpartition(";")[2].split(",")
            if cards[0] != "-1":
                yield "gpu_list", value, max(map(int, cards)) + 1
    if kind == "train_infer" and "True" in config.values("use_gpu"):
        yield "use_gpu", "True", 1


def ask(config: Config, question: str, words: Sequence[str] = ()) -> str:
    """Run a question in the configuration's interpreter and return its answer.

    Raises:
        UserError: "environment": the program does not exist, or does not run as Python.
    """
    command = [config.value("python"), "-c", question, *words]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not finish"
    else:
        answers = re.findall(ANSWER, run.stdout, re.MULTILINE)  # packages may print other lines
        if run.returncode == 0 and answers:
            return answers[-1]
        # A traceback has the reason in its last line, a shell's message in its first.
        lines = run.stderr.strip().splitlines() or ["it does not answer like Python"]
        reason = lines[-1 if lines[0].startswith("Traceback") else 0]
    message = f"'{command[0]}' does not run: {reason}; name an interpreter of this project"
    raise config.fail("python", message, "environment")
