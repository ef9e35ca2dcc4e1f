"""Checks that this machine has what a configuration needs: interpreter, packages, GPUs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence

from tipc.config import Config
from tipc.formats import TRAIN_MODES

SETUP = "bash shell/serving.sh setup"  # all of .venv except ONNX
ONNX_SETUP = ".venv/bin/pip install -r requirements-onnx.txt"
# Needed beside Paddle, for a kind of configuration or for one mode.
PACKAGES: dict[str, tuple[str, ...]] = {
    "klquant_whole_infer": ("openvino", "nncf"),
    "serving": ("paddle_serving_server",),
    "paddle2onnx": ("paddle2onnx", "onnxruntime"),
}
CPU_VALUES = {"gpu_list": "-1", "use_gpu": "False", "device_type": "0"}
ANSWER_SECONDS = 120
# Arguments: whether to count the GPUs, and packages, which are only searched for, because importing
# takes seconds. A program that is not Python does not answer in this form.
QUESTION = """
import json, sys
if sys.version_info < (3, 10):
    missing = "Python 3.10 (it is %d.%d)" % sys.version_info[:2]
else:
    from importlib.util import find_spec
    missing = ", ".join(name for name in sys.argv[2:] if find_spec(name) is None)
gpus = 0
if sys.argv[1] == "True" and not missing:
    import paddle
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
print("answer:" + json.dumps([missing, gpus]))
"""


def check_environment(config: Config, kind: str) -> None:
    """Check that the interpreter of a configuration runs and finds its packages and GPUs.

    Raises:
        UserError: something is missing; the message names the line and how to correct it.
    """
    packages = ("paddle", *PACKAGES.get(kind, ()), *PACKAGES.get(config.mode, ()))
    wanted = list(wanted_gpus(config, kind))
    missing, gpus = ask(config, packages, count_gpus=bool(wanted))
    python = config.value("python")
    if missing:
        setup = f"{SETUP} && {ONNX_SETUP}" if kind == "paddle2onnx" else SETUP
        raise config.fail("python", f"{python} does not find {missing}: run {setup}", "environment")
    for slot, value, count in wanted:
        if gpus < count:
            message = f"'{value}' needs {count} GPU(s), but the Paddle of {python} sees {gpus}"
            raise config.fail(slot, f"{message}: write '{CPU_VALUES[slot]}' for the CPU", "device")


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


def ask(config: Config, packages: Sequence[str], count_gpus: bool = False) -> tuple[str, int]:
    """Ask the interpreter of a configuration which packages are missing, and for its GPUs.

    Raises:
        UserError: "environment": the program does not exist, or does not run as Python.
    """
    command = [config.value("python"), "-c", QUESTION, str(count_gpus), *packages]
    options = {"capture_output": True, "text": True, "errors": "replace", "check": True}
    try:
        printed = subprocess.run(command, timeout=ANSWER_SECONDS, **options).stdout
        answer = printed.split("answer:")[1].splitlines()[0]  # Paddle prints other lines, too
        missing, gpus = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = getattr(error, "strerror", None) or getattr(error, "stderr", None)
        said = said or f"it does not answer like Python within {ANSWER_SECONDS} s"
        reason = " ".join(str(said).split())[-200:]
        message = f"'{command[0]}' does not run: {reason}; name an interpreter of this project"
        raise config.fail("python", message, "environment") from None
    return missing, gpus
