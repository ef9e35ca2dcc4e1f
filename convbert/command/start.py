"""The common start and end of every entry script: signals, one-line errors, exit statuses.

Also running another program as a step of a script.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convbert.command import machine
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import FULL, file_error

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def start_paddle(threads: int | None = None, training: bool = False) -> None:
    """Prepare the process for Paddle and import it; call this before anything else imports Paddle.

    Args:
        threads: threads of the CPU kernels; None: one for each core this process may use.
        training: keep freed memory for the next step (see `machine.keep_freed_memory`) instead of
            returning it to the system.
    """
    if training:
        machine.keep_freed_memory()
    else:
        machine.return_freed_memory()
    with hold_signals():  # Paddle's C++ module would turn an exception into an ImportError
        machine.set_cpu_environment(threads)
    exit_on_sigterm()  # Paddle has just installed its own handler


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the program like Ctrl-C does, so that it leaves nothing half-written.

    `run_main` calls it, and `start_paddle` calls it again: importing Paddle installs a handler that
    prints a stack trace and ends the process immediately.
    """

    def terminate(signum, frame):
        raise SystemExit(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, terminate)


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends. Main thread only.

    Paddle calls hand-written gradients from C++ and turns every exception in them, including
    Ctrl-C, into its own error.
    """
    held: list[int] = []
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


def run_step(command: Sequence[Any], **options: Any) -> None:
    """Run a program to its end; ``options`` are those of `subprocess.run`.

    Raises:
        UserError: it failed.
    """
    words = list(map(str, command))
    if subprocess.run(words, **options).returncode:
        raise UserError("step-failed", f"'{' '.join(words)}' failed: see the lines above")


def run_main(main: Callable[[Sequence[str] | None], int | None]) -> None:
    """Run ``main(argv)`` and exit: its status, 2 after a `UserError`, 130 after Ctrl-C.

    The line of a `UserError` ends with its code in brackets.
    """
    program = os.path.basename(sys.argv[0])
    exit_on_sigterm()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Print characters that the encoding of the terminal or pipe lacks as escape sequences.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()  # so that a full disk still changes the exit status
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, a terminal) has closed it
        status = EXIT_USER_ERROR
    except (UserError, MemoryError, OSError) as error:
        print(f"{program}: error: {_line(error)}", file=sys.stderr)
        status = EXIT_USER_ERROR
    try:
        sys.stdout.flush()
    except OSError:  # discard the rest, so that Python's own flush cannot fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status or 0)


def _line(error: Exception) -> str:
    """The line of an error, with its code if it has one."""
    if isinstance(error, MemoryError):  # Paddle's allocators raise it too, with a long report
        reason = next((line.strip(" .") for line in str(error).splitlines() if "alloc" in line), "")
        advice = "lower --batch_size or the sequence length, or use less data"
        error = UserError("memory", f"out of memory{': ' if reason else ''}{reason}; {advice}")
    elif isinstance(error, OSError) and (error.filename or error.errno in FULL):
        error = file_error(error)
    return f"{error} [{error.code}]" if isinstance(error, UserError) else str(error)
