"""The machine a script runs on: threads, memory of the C library, Paddle's environment, device."""

import contextlib
import ctypes
import io
import os
import sys
import warnings
from pathlib import Path

from paddlenlp.utils.errors import UserError


def default_threads() -> int:
    """CPU cores for this process: those it may use, divided by the processes of its launch."""
    allowed = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if allowed else os.cpu_count() or 1
    siblings = int(os.environ.get("PADDLE_LOCAL_SIZE") or 1)  # set by paddle.distributed.launch
    return max(1, cores // siblings)


def set_cpu_environment(threads: int | None = None) -> None:
    """Set Paddle's CPU defaults and import it; call this before anything else imports Paddle.

    Paddle pins ``OMP_NUM_THREADS`` to 1, which halves the GEMM rate on two cores; its strided CPU
    views copy about 30x too slowly up to 3.2; and the MKL it ships (2019) uses AVX2 or AVX-512 on
    an AMD processor only if an environment variable says so, which makes matrix products about
    2.5x and 4x as fast. Variables that the user exported override these defaults; ``threads``
    overrides both.
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(default_threads()))
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    if kernels := _mkl_kernels():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", kernels)
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors of Paddle's core, not its progress
    warnings.filterwarnings("ignore", category=UserWarning, module=r"paddle\.")
    # Paddle warns at import about the thread count that was chosen above on purpose.
    with contextlib.redirect_stderr(io.StringIO()) as captured:
        import paddle  # noqa: F401
    kept = [line for line in captured.getvalue().splitlines(True) if "OMP_NUM_THREADS" not in line]
    sys.stderr.write("".join(kept))


def cpu_fields() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo; {} if it does not exist."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _mkl_kernels() -> str | None:
    """Return the number of the kernels that MKL should use; None where it chooses right itself."""
    fields = cpu_fields()
    flags = fields.get("flags", "").split()
    if fields.get("vendor_id") != "AuthenticAMD" or "avx2" not in flags:
        return None
    skylake = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    return "7" if skylake <= set(flags) else "5"


# Options of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of returning them to the system; for training on a CPU.

    Every operator allocates and frees its tensors, and by default each block of more than 128 KB is
    a new mapping whose pages the kernel must clear again. For a small model this takes a third to
    two thirds of a training step. The cost: used memory is not returned before the process ends.
    """
    # No block gets its own mapping; the heap never shrinks and grows in large steps.
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 << 20})


def return_freed_memory() -> None:
    """Let glibc return large freed blocks to the system; for inference on a CPU.

    By default glibc stops doing so after large blocks were freed, and batches of many different
    lengths then fragment its heap.
    """
    _set_malloc({M_MMAP_THRESHOLD: 1 << 20})  # blocks from 1 MB on get their own mapping


def _set_malloc(options: dict[int, int]) -> None:
    """Set options of glibc's malloc, unless the user exported a ``MALLOC_...`` variable."""
    if not sys.platform.startswith("linux") or any(k.startswith("MALLOC_") for k in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries do not have it
        for option, value in options.items():
            mallopt(option, value)


def use_device(device: str | None) -> str:
    """Select the device for dygraph and return its name as Paddle gives it, ``cpu`` or ``gpu:0``.

    Raises:
        UserError: a GPU is requested but there is none.
    """
    import paddle

    usable = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not usable:
        raise UserError(
            "device",
            "--device gpu: no GPU is visible, or this Paddle has no GPU support; use --device cpu "
            "or install paddlepaddle-gpu",
        )
    paddle.set_device(device or ("gpu" if usable else "cpu"))
    return paddle.get_device()
