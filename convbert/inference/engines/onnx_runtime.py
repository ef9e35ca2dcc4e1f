"""ONNX Runtime over an exported model that paddle2onnx converted."""

from __future__ import annotations

import os

import numpy as np

from convbert.command.machine import default_threads
from convbert.inference.engines.options import INPUTS, EngineOptions
from paddlenlp.utils.errors import UserError

ONNX_FILE = "model.onnx"


class OnnxSession:
    """Runs an ONNX file on the CPU.

    Args:
        model_dir: the exported directory, with ``model.onnx`` unless ``options`` name another file.
        options: threads and file.

    Raises:
        UserError: ONNX Runtime is not installed, or the file is missing, damaged or another model.
    """

    device = "cpu"
    use_mkldnn = False

    def __init__(self, model_dir: str, options: EngineOptions | None = None):
        self.options = options or EngineOptions(engine="onnxruntime")
        path = self.options.onnx_file or os.path.join(model_dir, ONNX_FILE)
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                "package-missing",
                "ONNX Runtime is not installed: pip install -r requirements-onnx.txt",
            ) from None
        if not os.path.isfile(path):
            raise UserError(
                "file-missing", f"{path} does not exist: convert an exported model with paddle2onnx"
            )
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.options.cpu_threads or default_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                path, settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # a class of its own C++ module
            reason = str(error).strip().splitlines()[0]
            raise UserError("engine", f"ONNX Runtime cannot open {path}: {reason}") from None
        names = sorted(node.name for node in self._session.get_inputs())
        if names != sorted(INPUTS):
            raise UserError(
                "engine",
                f"the inputs of {path} are {', '.join(names)} instead of {', '.join(INPUTS)}",
            )

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""
        arrays = (np.ascontiguousarray(array, np.int64) for array in (input_ids, token_type_ids))
        return self._session.run(None, dict(zip(INPUTS, arrays)))[0]
