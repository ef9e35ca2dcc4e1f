"""The engines that run an exported program: token ids in, logits out.

``options``           how to run it, and which engine supports what
``paddle_inference``  Paddle Inference, the reference
``openvino``          OpenVINO, the fastest on a CPU; ``compiled_cache`` keeps its compiled models
``onnx_runtime``      ONNX Runtime, on a model that paddle2onnx converted
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from convbert.inference.engines.options import ENGINES, INPUTS, PRECISIONS, EngineOptions

__all__ = ["ENGINES", "INPUTS", "PRECISIONS", "Engine", "EngineOptions", "installed", "open_engine"]


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
    options: EngineOptions | None = None,
    digests: Mapping[str, str] | None = None,
) -> Engine:
    """Open the program of an exported directory with the engine given in ``options``.

    Args:
        model_dir: the directory.
        options: engine, device, threads, precision; None: Paddle Inference on the CPU.
        digests: known SHA-256 values by file name, so that the files are not read again for them.

    Raises:
        UserError: the package is not installed, files are missing or damaged, or the engine or the
            processor does not support the model, the device or the precision.
    """
    options = options or EngineOptions()
    if options.engine == "openvino":
        from convbert.inference.engines.openvino import OpenvinoEngine

        return OpenvinoEngine(model_dir, options, digests)
    if options.engine == "onnxruntime":
        from convbert.inference.engines.onnx_runtime import OnnxSession

        return OnnxSession(options)
    from convbert.inference.engines.paddle_inference import Predictor

    return Predictor(model_dir, options)


def installed(engine: str) -> bool:
    """Whether the package of an engine is installed."""
    return find_spec(engine) is not None
