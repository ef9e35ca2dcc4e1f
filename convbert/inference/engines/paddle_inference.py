"""Paddle Inference, for an exported model."""

from pathlib import Path

import numpy as np

from convbert.command.machine import default_threads
from convbert.inference.engines import (
    INPUTS,
    EngineOptions,
    check_inputs,
    find_files,
    not_exported,
)
from convbert.inference.finite import check_finite
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

# Program and weights, as Paddle 2.x and 3.x write them.
PADDLE_FILES = (
    ("inference.pdmodel", "inference.pdiparams"),
    ("inference.json", "inference.pdiparams"),
)
# Memory Paddle Inference reserves at start on a GPU, in MB; it grows on demand.
GPU_POOL_MB = 1000
# The passes that create `fc` operators in programs of Paddle 2.x and of 3.x. Under oneDNN these
# operators copy all weights at the first run of each input shape. Without them, matrix products use
# the original weights (in 2.6.2 through MKL).
FC_PASSES = ("fc_fuse_pass", "matmul_add_act_fuse_pass")


def find_program(model_dir: str) -> tuple[str, str]:
    """Return the program and parameter files of an exported directory.

    Raises:
        UserError: the directory or a file is missing, or this Paddle cannot read the program.
    """
    import paddle

    found = find_files(model_dir, PADDLE_FILES)
    if found is None:
        raise not_exported(model_dir, "inference.pdmodel or inference.json")
    if found[0].endswith(".json") and paddle.__version__.startswith("2."):
        raise UserError(
            "engine",
            f"{found[0]} was exported by Paddle 3.x and cannot be read by 2.x: export it again "
            "here",
        )
    return found


class Predictor:
    """Runs an exported program. Not thread-safe: use one per thread or a lock (Paddle#56524).

    ``files`` are the program and its parameters; options and errors are those of `open_engine`.
    """

    def __init__(self, files: tuple[str, str], options: EngineOptions):
        self.files = files
        check_finite(files[1])
        self.options, self.device = options, options.device
        self.use_mkldnn = options.use_mkldnn and not options.use_gpu
        self._open()
        try:
            self._run_once()
        except Exception as error:
            # Some 3.x releases cannot run this program under oneDNN (Paddle#77340).
            if not self.use_mkldnn:
                raise
            reason = str(error).strip().splitlines()[-1]
            get_logger().warning("oneDNN is off: this Paddle cannot run it (%s)", reason)
            self.use_mkldnn = False
            self._open()
            self._run_once()

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run one batch: two [B, L] int64 arrays in, logits [B, C] float32 out."""
        if input_ids.size > self._largest:
            # Buffers that grow are no longer shared between operators, so allocate them again.
            self._predictor.clear_intermediate_tensor()
            self._largest = input_ids.size
        for handle, array in zip(self._inputs, (input_ids, token_type_ids)):
            handle.copy_from_cpu(np.ascontiguousarray(array, dtype=np.int64))
        self._predictor.run()
        return self._output.copy_to_cpu()

    def _run_once(self) -> None:
        ids = np.ones((1, 3), dtype=np.int64)
        self.run(ids, np.zeros_like(ids))

    def _open(self) -> None:
        from paddle import base, inference

        config = self._config()
        try:
            if self.files[0].endswith(".pdmodel"):  # create_predictor may crash on other files
                base.core.ProgramDesc(Path(self.files[0]).read_bytes())
            predictor = inference.create_predictor(config)
        except Exception as error:  # Paddle raises several types for a damaged program
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                "engine",
                f"Paddle Inference cannot open {self.files[0]} ({reason}): export it again",
            ) from None
        check_inputs(predictor.get_input_names(), self.files[0])
        self._predictor, self._largest = predictor, 0
        self._inputs = [predictor.get_input_handle(name) for name in INPUTS]
        self.output_name = predictor.get_output_names()[0]
        self._output = predictor.get_output_handle(self.output_name)

    def _config(self):
        from paddle import inference

        options = self.options
        config = inference.Config(*self.files)
        config.disable_glog_info()
        config.switch_ir_optim(True)
        if self.files[0].endswith(".pdmodel"):
            # With a 3.x json program create_predictor fails on the memory pass (3.3.1).
            config.enable_memory_optim()
        if options.use_gpu:
            _require_gpu()
            kinds = inference.PrecisionType
            kind = kinds.Half if options.precision == "fp16" else kinds.Float32
            config.enable_use_gpu(GPU_POOL_MB, options.gpu_id, kind)
            return config
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(options.cpu_threads or default_threads())
        if self.use_mkldnn:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(1)  # input shapes; more are not faster
            for name in FC_PASSES:
                config.delete_pass(name)
        else:
            config.disable_mkldnn()  # Paddle 3.x turns it on by default
        return config


def _require_gpu() -> None:
    import paddle

    if not paddle.is_compiled_with_cuda():
        raise UserError(
            "device",
            "a GPU was requested, but this Paddle has no GPU support: install paddlepaddle-gpu or "
            "run on the CPU",
        )
    if paddle.device.cuda.device_count() == 0:
        raise UserError("device", "a GPU was requested, but no GPU is visible: run on the CPU")
