"""The engines that run an exported program: token ids in, logits out.

``paddle_inference``  Paddle Inference, the reference
``openvino``          OpenVINO, the fastest on a CPU; ``compiled_cache`` keeps its compiled models
``onnx_runtime``      ONNX Runtime, on a model that paddle2onnx converted
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE
from paddlenlp.utils.errors import UserError

# The number formats, and those of each engine. "int8" needs a model from tools/quantize_model.py.
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
PRECISIONS_OF = {
    "paddle": ("fp32", "fp16"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32",),
}
ENGINES = tuple(PRECISIONS_OF)
INPUTS = ("input_ids", "token_type_ids")


@dataclass(frozen=True)
class EngineOptions:
    """How the program is run.

    ``precision`` is "fp32", "bf16" (a CPU that has it), "fp16" (GPU) or "int8" (a quantized model).
    ``cpu_threads`` None uses every core that this process may use. ``use_mkldnn`` (oneDNN) is for
    Paddle Inference. ``onnx_file`` is the converted model, for ONNX Runtime.

    Raises:
        UserError: the engine does not support the precision or the device.
    """

    use_gpu: bool = False
    gpu_id: int = 0
    use_mkldnn: bool = True
    cpu_threads: int | None = None
    precision: str = "fp32"
    engine: str = "paddle"
    onnx_file: str | None = None

    def __post_init__(self):
        engine, precision = self.engine, self.precision
        if engine not in ENGINES:
            raise UserError(
                "engine", f"engine '{engine}' is unknown: use one of {', '.join(ENGINES)}"
            )
        if precision not in PRECISIONS_OF[engine]:
            others = [f"engine {name}" for name in ENGINES if precision in PRECISIONS_OF[name]]
            usable = " or ".join([", ".join(PRECISIONS_OF[engine]), *others])
            raise UserError(
                "precision",
                f"engine {engine} does not support precision '{precision}': use {usable}",
            )
        if engine != "paddle" and self.use_gpu:
            raise UserError(
                "device", f"engine {engine} runs on the CPU: use engine paddle for a GPU"
            )
        if precision == "fp16" and not self.use_gpu:
            raise UserError("precision", "precision fp16 needs --use_gpu True; on a CPU use fp32")

    @property
    def uses_paddle(self) -> bool:
        """Whether the engine imports Paddle, which needs `convbert.command.start.start_paddle`."""
        return self.engine == "paddle"

    @property
    def device(self) -> str:
        """The device as printed: ``cpu`` or ``gpu:0``. There is no fallback to another device."""
        return f"gpu:{self.gpu_id}" if self.use_gpu else "cpu"


PADDLE_ON_CPU = EngineOptions()


class Engine(Protocol):
    """An opened program. Not thread-safe: use one per thread.

    ``device`` and ``use_mkldnn`` say what is actually used.
    """

    options: EngineOptions
    device: str
    use_mkldnn: bool

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""


def open_engine(
    model_dir: str,
    options: EngineOptions = PADDLE_ON_CPU,
    digests: Mapping[str, str] | None = None,
) -> Engine:
    """Open the program of an exported directory with the engine given in ``options``.

    Args:
        model_dir: the directory.
        options: engine, device, threads, precision.
        digests: known SHA-256 values by file name, so that the files are not read again for them.

    Raises:
        UserError: the package is not installed, files are missing or damaged, weights are not
            finite, or the engine or the processor does not support the model, the device or the
            precision.
    """
    if options.engine == "openvino":
        from convbert.inference.engines.openvino import OpenvinoEngine

        return OpenvinoEngine(model_dir, options, digests)
    if options.engine == "onnxruntime":
        from convbert.inference.engines.onnx_runtime import OnnxSession

        return OnnxSession(options)
    from convbert.inference.engines.paddle_inference import Predictor, find_program

    return Predictor(find_program(model_dir), options)


def installed(package: str) -> bool:
    """Whether a package, such as that of an engine, is installed."""
    return find_spec(package) is not None


def find_files(model_dir: str, forms: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the paths of program and weights in an exported directory; None without a program.

    Args:
        model_dir: the directory.
        forms: the names of both files in each form that the engine reads, the preferred one first.

    Raises:
        UserError: the directory or the weights are missing.
    """
    if not os.path.isdir(model_dir):
        raise UserError(
            "file-missing",
            f"'{model_dir}' is not a directory: export a model with tools/export_model.py",
        )
    for names in forms:
        program, weights = (os.path.join(model_dir, name) for name in names)
        if os.path.isfile(program):
            if not os.path.isfile(weights):
                raise not_exported(model_dir, names[1])
            return program, weights
    return None


def not_exported(model_dir: str, missing: str) -> UserError:
    """The error for a file that an exported directory lacks."""
    what = f"{missing} is missing in exported model '{model_dir}': export it again"
    if os.path.isfile(os.path.join(model_dir, WEIGHTS_FILE)):
        what = f"'{model_dir}' is a checkpoint: export it with tools/export_model.py"
    elif os.path.isdir(os.path.join(model_dir, "best.pdparams")):
        what = f"'{model_dir}' is a training run: export its best.pdparams"
    elif os.path.isfile(os.path.join(model_dir, "inference.xml")):
        what = f"'{model_dir}' is an int8 model: use --engine openvino --precision int8"
    return UserError("export", what)


def check_inputs(names: Sequence[str], path: str) -> None:
    """Raise `UserError` if the inputs of a program are not `INPUTS`, in any order."""
    if sorted(names) != sorted(INPUTS):
        found, wanted = ", ".join(names), ", ".join(INPUTS)
        raise UserError(
            "engine",
            f"the inputs of {path} are [{found}] instead of {wanted}: export it with "
            "tools/export_model.py",
        )
