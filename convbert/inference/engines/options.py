"""How an exported program is run, and which engine supports what."""

from __future__ import annotations

from dataclasses import dataclass

from paddlenlp.utils.errors import UserError

# The number formats, and those of each engine. "int8" needs a model from tools/quantize_model.py.
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
PRECISIONS_OF = {
    "paddle": ("fp32", "bf16", "fp16"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32",),
}
ENGINES = tuple(PRECISIONS_OF)
INPUTS = ("input_ids", "token_type_ids")


@dataclass(frozen=True)
class EngineOptions:
    """How the program is run.

    ``precision`` is "fp32", "bf16" (a CPU that has it), "fp16" (GPU) or "int8" (a quantized model).
    ``cpu_threads`` None uses every core that this process may use. ``use_mkldnn`` (oneDNN) and
    ``mkldnn_cache_capacity`` are for Paddle Inference. The latter is the number of input shapes for
    which oneDNN caches its kernels; 0: all; None: 1 in fp32, where preparing a shape is fast, and 8
    in bf16, where each shape copies the weights. ``onnx_file`` is the converted model, for ONNX
    Runtime.
    """

    use_gpu: bool = False
    gpu_id: int = 0
    use_mkldnn: bool = True
    cpu_threads: int | None = None
    precision: str = "fp32"
    mkldnn_cache_capacity: int | None = None
    engine: str = "paddle"
    onnx_file: str | None = None

    def __post_init__(self):
        if self.engine not in ENGINES:
            raise UserError(
                "engine", f"engine '{self.engine}' is unknown: use one of {', '.join(ENGINES)}"
            )
        allowed = PRECISIONS_OF[self.engine]
        if self.precision not in allowed:
            others = [f"engine {name}" for name in ENGINES if self.precision in PRECISIONS_OF[name]]
            raise UserError(
                "precision",
                f"engine {self.engine} does not support precision '{self.precision}': use "
                f"{' or '.join([', '.join(allowed), *others])}",
            )
        if self.engine != "paddle":
            if self.use_gpu:
                raise UserError(
                    "device", f"engine {self.engine} runs on the CPU: use engine paddle for a GPU"
                )
            return
        if self.copies_weights and (self.use_gpu or not self.use_mkldnn):
            raise UserError(
                "precision", f"precision {self.precision} needs the CPU and --use_mkldnn True"
            )
        if self.precision == "fp16" and not self.use_gpu:
            raise UserError("precision", "precision fp16 needs --use_gpu True; on a CPU use fp32")

    @property
    def copies_weights(self) -> bool:
        """Whether each new input shape makes a copy of the weights, which takes time."""
        return self.engine == "paddle" and self.precision == "bf16"

    @property
    def device(self) -> str:
        """The device as printed: ``cpu`` or ``gpu:0``. There is no fallback to another device."""
        return f"gpu:{self.gpu_id}" if self.use_gpu else "cpu"
