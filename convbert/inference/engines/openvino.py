"""OpenVINO, for an exported model: the fastest engine on a CPU. It never imports Paddle."""

import mmap
import os
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from convbert.command.machine import default_threads
from convbert.inference.engines import (
    INPUTS,
    EngineOptions,
    check_inputs,
    compiled_cache,
    find_files,
    not_exported,
)
from convbert.inference.finite import check_finite
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import sha256

# Model and weight files that it reads: a quantized model, or a program of Paddle 2.x.
MODEL_FILES = (("inference.xml", "inference.bin"), ("inference.pdmodel", "inference.pdiparams"))
PADDLE3_FILE = "inference.json"
_CONVERTER = "openvino.tools.ovc"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: of other operators


class OpenvinoEngine:
    """Runs an exported directory on the CPU. Thread-safe: each thread has its own request.

    Arguments and errors are those of `open_engine`.
    """

    device = "cpu"
    use_mkldnn = False

    def __init__(
        self, model_dir: str, options: EngineOptions, digests: Mapping[str, str] | None = None
    ):
        self.options = options
        self.files = find_model(model_dir)
        self._openvino = require_openvino()
        self._core = core()
        self._requests = threading.local()
        self._mapping: mmap.mmap | None = None
        self._smallest, self._largest = sys.maxsize, 0  # tokens of a batch so far
        self._config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.options.cpu_threads or default_threads(),
            # Without it a processor with bf16 would use bf16, and the answers would depend on the
            # processor.
            "INFERENCE_PRECISION_HINT": _HINTS[self.options.precision],
            # With pinning, every process uses the cores from 0 on, so several processes share one
            # core.
            "ENABLE_CPU_PINNING": False,
        }
        self._check_processor()
        known = digests or {}
        self._compiled = self._open(
            [known.get(os.path.basename(path)) or sha256(path) for path in self.files]
        )

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        arrays = (np.ascontiguousarray(array, np.int64) for array in (input_ids, token_type_ids))
        # Inputs by name, because their order may differ. Copied, because the request owns its
        # result.
        logits = np.array(request.infer(dict(zip(INPUTS, arrays)))[0])
        tokens = input_ids.size
        if not self._smallest <= tokens <= self._largest:
            self._smallest = min(self._smallest, tokens)
            self._largest = max(self._largest, tokens)
            self._release_pages()
        return logits

    def _release_pages(self) -> None:
        """Release the pages of the mapped weights, which are read only to pack them for a kernel.

        The kernels for large and for small batches pack their weights at the first such batch.
        Pages that are needed again, such as those of the embeddings, are read from the file.
        """
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def _check_processor(self) -> None:
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.options.precision == "bf16" and "BF16" not in capabilities:
            raise UserError(
                "precision",
                "this processor does not compute in bf16 (OpenVINO reports "
                f"{', '.join(capabilities)}): use precision fp32",
            )

    def _open(self, digests: list[str]):
        """Open the compiled model from the cache; if it is not there, compile and store it."""
        processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        version = self._openvino.get_version()
        entry = compiled_cache.entry_of(digests, version, processor, self.options.precision)
        compiled = self._from_cache(entry)
        if compiled is not None:
            return compiled
        compiled = self._compile()
        if compiled_cache.store(entry, compiled.export_model().getbuffer()):
            # Opened from the cache, most weights are mapped pages that all processes share.
            return self._from_cache(entry) or compiled
        return compiled

    def _from_cache(self, entry: Path):
        try:
            mapping, content = compiled_cache.load(entry)
            blob = self._openvino.Tensor(content, shared_memory=True)
            compiled = self._core.import_model(blob, "CPU", self._config)
        except (OSError, ValueError, RuntimeError):  # missing, empty, damaged
            return None
        self._mapping, self._blob = mapping, blob  # the compiled model reads its weights from here
        return compiled

    def _compile(self):
        path = self.files[0]
        model = read_model(*self.files)
        check_inputs([variable.get_any_name() for variable in model.inputs], path)
        if is_quantized(model) != (self.options.precision == "int8"):
            fits = "int8" if is_quantized(model) else "fp32"
            raise UserError(
                "precision",
                f"{path} cannot run in {self.options.precision}: use precision {fits}, or make the "
                "other model with tools/quantize_model.py or tools/export_model.py",
            )
        return self._core.compile_model(model, "CPU", self._config)


def require_openvino():
    """Import OpenVINO; raise `UserError` if it is not installed.

    Its converter imports a package that reports usage, and takes half of the import time. OpenVINO
    works without it, so it is hidden during the import, unless it is loaded already.
    """
    hidden = sys.modules.setdefault(_CONVERTER) is None
    try:
        import openvino
    except ImportError:
        raise UserError(
            "package-missing",
            "OpenVINO is not installed: pip install -r requirements-openvino.txt",
        ) from None
    finally:
        if hidden:
            del sys.modules[_CONVERTER]
    return openvino


@cache
def core():
    """Return OpenVINO's core, the only one of this process; raise `UserError` without OpenVINO.

    Its CPU plugin gives the thread a stack for signals and takes it back when the core is deleted.
    With several cores the stack of a deleted one may remain set: the next signal would then kill
    the process.
    """
    return require_openvino().Core()


def find_model(model_dir: str) -> tuple[str, str]:
    """Return the model file and the weight file that OpenVINO can read.

    Raises:
        UserError: the directory or a file is missing, or Paddle 3 wrote the program.
    """
    found = find_files(model_dir, MODEL_FILES)
    if found is not None:
        return found
    if os.path.isfile(os.path.join(model_dir, PADDLE3_FILE)):
        raise UserError(
            "engine",
            f"'{model_dir}' contains a program of Paddle 3 ({PADDLE3_FILE}), which OpenVINO cannot "
            "read: export it with Paddle 2.6, or use engine paddle, which has no int8",
        )
    raise not_exported(model_dir, "inference.pdmodel")


def read_model(path: str, weights: str):
    """Read a program or an IR.

    Raises:
        UserError: it is damaged, has operators that OpenVINO does not support, or its weights
            contain NaN or infinity.
    """
    reader = core()
    try:
        model = reader.read_model(path)
    except Exception as error:  # classes defined in its C++ module
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            "engine", f"OpenVINO cannot open {path} ({lines[-1]}): export it again"
        ) from None
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    numbers = (node for node in constants if node.get_element_type().is_real())
    check_finite(weights, (node.data for node in numbers))  # not copied; bfloat16 as float16
    return model


def is_quantized(model) -> bool:
    """Whether NNCF quantized this model."""
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
