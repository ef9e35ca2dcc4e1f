"""What every entry script shares on its command line: typed flags, exit codes, one-line errors."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import os
import signal
import sys
import warnings
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from paddlenlp.utils.errors import UserError

DEFAULT_SENTENCE = "the problem , it is with most of these things , is the script ."
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def bool_flag(value: str) -> bool:
    """Parse ``true/false/1/0/yes/no``; anything else is an error rather than a silent False."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "y", "t"):
        return True
    if word in ("false", "0", "no", "n", "f"):
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is not a boolean: use True or False")


def add_bool_flag(parser: argparse.ArgumentParser, name: str, default: bool, help: str) -> None:
    """Add a flag usable as ``--x``, ``--x True`` and ``--x=False``."""
    parser.add_argument(
        name, type=bool_flag, nargs="?", const=True, default=default, metavar="BOOL", help=help
    )


def int_at_least(minimum: int) -> Callable[[str], int]:
    """Return an argparse type for integers ``>= minimum``."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{value}' is not an integer") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is too small: at least {minimum}")
        return number

    return parse


def float_in(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for finite floats in the closed interval ``[low, high]``."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{value}' is not a number") from None
        if not low <= number <= high:  # also refuses nan
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return number

    return parse


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the long list of flags."""

    def error(self, message: str):
        """Refuse a command line; `run_main` prints the line and exits with 2."""
        raise UserError(f"{message} (--help lists the flags)")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of an entry script; flags cannot be abbreviated."""
    return OneLineParser(description=description, allow_abbrev=False)


def default_threads() -> int:
    """Number of CPU cores for this process: those it may use, shared with its launch siblings."""
    allowed = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if allowed else os.cpu_count() or 1
    siblings = int(os.environ.get("PADDLE_LOCAL_SIZE") or 1)  # set by paddle.distributed.launch
    return max(1, cores // siblings)


def set_cpu_environment(threads: Optional[int] = None) -> None:
    """Set Paddle's CPU defaults and import it; call this before anything else imports Paddle.

    Paddle pins ``OMP_NUM_THREADS`` to 1, which halves the GEMM rate on two cores; its strided CPU
    views copy about 30x too slowly up to 3.2; and the MKL it ships (2019) takes AVX2 on an AMD
    processor only if told so, which makes matrix products 2.6x faster there. A value the user
    exported wins over the default, ``threads`` over both.
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(default_threads()))
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    if _is_amd_with_avx2():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors of Paddle's core, not its progress
    warnings.filterwarnings("ignore", category=UserWarning, module=r"paddle\.")
    # Paddle warns at import about the thread count that was chosen above on purpose.
    with contextlib.redirect_stderr(io.StringIO()) as captured:
        import paddle  # noqa: F401
    kept = [line for line in captured.getvalue().splitlines(True) if "OMP_NUM_THREADS" not in line]
    sys.stderr.write("".join(kept))


def _is_amd_with_avx2() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().split("\n\n")[0]
    except OSError:  # no Linux
        return False
    return "AuthenticAMD" in first and " avx2 " in first


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of returning them to the system; for training on a CPU.

    Every operator allocates and frees its tensors, and by default each block of more than 128 KB is
    a new mapping whose pages the kernel must clear again: a third to two thirds of a training step
    of a small model. The price is that memory once used is not given back before the process ends.
    ``MALLOC_...`` variables that the user exported win.
    """
    _set_malloc(
        {
            -4: 0,  # M_MMAP_MAX: no block has a mapping of its own
            -1: -1,  # M_TRIM_THRESHOLD: never shrink the heap
            -2: 64 << 20,  # M_TOP_PAD: grow it in large steps
        }
    )


def return_freed_memory() -> None:
    """Let glibc return large freed blocks to the system; for inference on a CPU.

    By default it stops doing so once large blocks were freed, and batches of many lengths leave
    holes in its heap. ``MALLOC_...`` variables that the user exported win.
    """
    _set_malloc({-3: 1 << 20})  # M_MMAP_THRESHOLD: a mapping of its own from 1 MB on


def _set_malloc(options: Dict[int, int]) -> None:
    if not sys.platform.startswith("linux") or any(k.startswith("MALLOC_") for k in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        for option, value in options.items():
            mallopt(option, value)


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the program like Ctrl-C does, so that it leaves nothing half-written.

    Call it after Paddle is imported: Paddle's own handler prints a stack and dies on the spot.
    """

    def terminate(signum, frame):
        raise SystemExit(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, terminate)


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block ends. Main thread only.

    Paddle calls hand-written gradients from C++ and turns an exception in them, a Ctrl-C too, into
    an error of its own.
    """
    held: List[int] = []
    before = {
        number: signal.signal(number, lambda received, frame: held.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--device gpu|cpu``; without it the GPU is taken where Paddle sees one."""
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), help="default: gpu where Paddle sees one, else cpu"
    )


def use_device(device: Optional[str]) -> str:
    """Select the device for dygraph and return its name as Paddle gives it, ``cpu`` or ``gpu:0``.

    Raises:
        UserError: a GPU is asked for where there is none.
    """
    import paddle

    usable = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not usable:
        reason = "none is visible" if paddle.is_compiled_with_cuda() else "this Paddle has none"
        raise UserError(f"--device gpu: {reason}; use --device cpu or install paddlepaddle-gpu")
    paddle.set_device(device or ("gpu" if usable else "cpu"))
    return paddle.get_device()


def run_main(main: Callable[[Optional[Sequence[str]]], Optional[int]]) -> None:
    """Run ``main(argv)`` and exit: its status, 2 after a `UserError`, 130 after Ctrl-C."""
    program = os.path.basename(sys.argv[0])
    try:
        status = main(sys.argv[1:])
    except UserError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        status = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, a closed terminal) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_USER_ERROR
    except OSError as error:  # a full disk, a file taken away: the system's words are the mend
        print(f"{program}: error: {error}", file=sys.stderr)
        status = EXIT_USER_ERROR
    sys.exit(status or 0)
