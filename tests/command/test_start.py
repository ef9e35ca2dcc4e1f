"""How a script ends: the line, its code, and the exit status."""

import errno
import subprocess
import sys

import pytest

from convbert.command.start import EXIT_INTERRUPTED, EXIT_USER_ERROR, run_main
from paddlenlp.utils.errors import UserError
from tests.conftest import REPO_ROOT

PADDLES_REPORT = (
    "\n----\nC++ Traceback\n----\n"
    "ResourceExhaustedError: Fail to alloc memory of 320 size, error code is 12.\n  [Hint: ...]"
)


@pytest.mark.parametrize(
    ("error", "status", "end"),
    [
        (UserError("port", "in use"), EXIT_USER_ERROR, "error: in use [port]\n"),
        (MemoryError(), EXIT_USER_ERROR, " [memory]\n"),
        (MemoryError(PADDLES_REPORT), EXIT_USER_ERROR, " [memory]\n"),
        (OSError(errno.ENOSPC, "No space left"), EXIT_USER_ERROR, " [not-writable]\n"),
        (OSError(errno.EIO, "Input/output error"), EXIT_USER_ERROR, "Input/output error\n"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted\n"),
        (BrokenPipeError(), EXIT_USER_ERROR, ""),
    ],
)
def test_an_error_is_one_line(capsys, error, status, end):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == status
    printed = capsys.readouterr().err
    assert printed.endswith(end)
    assert printed.count("\n") == bool(end)


def test_a_full_disk_below_the_output_is_noticed_at_the_end():
    code = "from convbert.command.start import run_main\n"
    code += "run_main(lambda argv: print('one line, which stays in the buffer'))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO_ROOT,
        )
    assert done.returncode == EXIT_USER_ERROR
    assert done.stderr.endswith(" [not-writable]\n")
    assert done.stderr.count("\n") == 1
