"""The common start and end of every entry script: signals, one-line errors, exit statuses."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from convbert.command import machine
from paddlenlp.utils.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def start_paddle(threads: int | None = None, training: bool = False) -> None:
    """Prepare the process for Paddle and import it; call this before anything else imports Paddle.

    Args:
        threads: of the CPU kernels; None: one for each core this process may use.
        training: keep freed memory for the next step (see `machine.keep_freed_memory`) instead of
            returning it to the system.
    """
    if training:
        machine.keep_freed_memory()
    else:
        machine.return_freed_memory()
    machine.set_cpu_environment(threads)
    exit_on_sigterm()  # Paddle has just installed a handler of its own


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the program like Ctrl-C does, so that it leaves nothing half-written.

    `run_main` calls it, and `start_paddle` again: importing Paddle installs a handler that prints a
    stack and ends the process at once.
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


def run_main(main: Callable[[Sequence[str] | None], int | None]) -> None:
    """Run ``main(argv)`` and exit: its status, 2 after a `UserError`, 130 after Ctrl-C.

    The line of a `UserError` ends with its code in brackets.
    """
    program = os.path.basename(sys.argv[0])
    exit_on_sigterm()
    _print_any_character()
    try:
        status = main(sys.argv[1:])
    except UserError as error:
        print(f"{program}: error: {error} [{error.code}]", file=sys.stderr)
        status = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, a closed terminal) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_USER_ERROR
    except OSError as error:  # a full disk, a file taken away: the system's message is enough
        print(f"{program}: error: {error}", file=sys.stderr)
        status = EXIT_USER_ERROR
    sys.exit(status or 0)


def _print_any_character() -> None:
    """Print characters that the encoding of the terminal or pipe cannot hold as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
