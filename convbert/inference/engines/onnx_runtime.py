"""An ONNX Runtime session over a converted ConvBERT, with the interface of `Predictor`."""

from __future__ import annotations

import os

import numpy as np

from convbert.command.machine import default_threads
from paddlenlp.utils.errors import UserError

INPUTS = ("input_ids", "token_type_ids")


class OnnxSession:
    """Runs an ONNX file on the CPU.

    Args:
        path: what paddle2onnx wrote.
        threads: of the operators; None: every core this process may use.

    Raises:
        UserError: ONNX Runtime is not installed, or the file is missing, damaged or another model.
    """

    device = "cpu"

    def __init__(self, path: str, threads: int | None = None):
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # a class of its own C++ module
            reason = str(error).strip().splitlines()[0]
            raise UserError("engine", f"ONNX Runtime cannot open {path}: {reason}") from None
        names = sorted(node.name for node in self._session.get_inputs())
        if names != sorted(INPUTS):
            raise UserError(
                "engine", f"{path} takes {', '.join(names)} instead of {', '.join(INPUTS)}"
            )

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""
        arrays = (np.ascontiguousarray(array, np.int64) for array in (input_ids, token_type_ids))
        return self._session.run(None, dict(zip(INPUTS, arrays)))[0]
