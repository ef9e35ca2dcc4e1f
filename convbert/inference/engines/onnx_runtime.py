"""ONNX Runtime, for an exported model that paddle2onnx has converted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain

import numpy as np

from convbert.command.machine import default_threads
from convbert.inference.engines import INPUTS, EngineOptions, check_inputs
from convbert.inference.finite import check_finite
from paddlenlp.utils.errors import UserError

OPSET_VERSION = 13


class OnnxSession:
    """Runs the ONNX file in the options on the CPU; errors are those of `open_engine`."""

    device = "cpu"
    use_mkldnn = False

    def __init__(self, options: EngineOptions):
        self.options, path = options, options.onnx_file
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError:
            raise UserError(
                "package-missing",
                "ONNX Runtime or onnx is not installed: pip install -r requirements-onnx.txt",
            ) from None
        if path is None:
            raise UserError("command-line", "engine onnxruntime needs --onnx_file")
        if not os.path.isfile(path):
            raise UserError(
                "file-missing", f"{path} does not exist: convert an exported model with paddle2onnx"
            )
        check_finite(path, onnx_weights(path))
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.cpu_threads or default_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                path, settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # classes defined in its C++ module
            reason = str(error).strip().splitlines()[0]
            raise UserError("engine", f"ONNX Runtime cannot open {path}: {reason}") from None
        check_inputs([node.name for node in self._session.get_inputs()], path)

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""
        arrays = (np.ascontiguousarray(array, np.int64) for array in (input_ids, token_type_ids))
        return self._session.run(None, dict(zip(INPUTS, arrays)))[0]


def onnx_weights(path: str) -> Iterator[np.ndarray]:
    """Yield the initializers and constants of an ONNX file, also those in files beside it."""
    import onnx

    graph = onnx.load(path).graph
    attributes = (
        field for node in graph.node if node.op_type == "Constant" for field in node.attribute
    )
    constants = (field.t for field in attributes if field.HasField("t"))
    for tensor in chain(graph.initializer, constants):
        array = onnx.numpy_helper.to_array(tensor)
        # Of bfloat16, NumPy does not know that it is a floating-point type.
        yield array.astype(np.float32) if tensor.data_type == onnx.TensorProto.BFLOAT16 else array


def convert(model_dir: str, onnx_file: str) -> None:
    """Convert an exported program of Paddle 2.6 with paddle2onnx; batch and length stay dynamic.

    Raises:
        UserError: paddle2onnx is not installed, or it failed.
    """
    command = [sys.executable, "-c", "from paddle2onnx.command import main; main()"]
    command += ["--model_dir", model_dir, "--save_file", onnx_file]
    command += ["--model_filename", "inference.pdmodel"]
    command += ["--params_filename", "inference.pdiparams"]
    command += ["--opset_version", str(OPSET_VERSION)]
    done = subprocess.run(
        command, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # After some errors paddle2onnx writes an empty file and exits with status 0.
    if done.returncode or not os.path.getsize(onnx_file):
        reason = (done.stdout.splitlines() or [""])[-1]
        raise UserError("engine", f"paddle2onnx cannot convert '{model_dir}': {reason}")
