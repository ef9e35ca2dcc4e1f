"""Waiting for what other processes do."""

import subprocess
import time
from collections.abc import Callable

PATIENCE_S = 300.0


def wait_until(condition: Callable[[], object], describe: Callable[[], str] = lambda: "") -> None:
    """Wait until a condition holds; fail after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.02)


def wait_while_running(
    condition: Callable[[], object],
    process: subprocess.Popen,
    describe: Callable[[], str] = lambda: "",
) -> None:
    """Wait until a condition holds; fail if the process ends before, or after `PATIENCE_S`."""

    def met() -> bool:
        if condition():
            return True
        assert process.poll() is None, describe()
        return False

    wait_until(met, describe)
