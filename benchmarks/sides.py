"""Programs of different environments measured in turns: each is a process that answers requests.

A side first writes its versions, then reads one JSON request per line from standard input and
writes one JSON answer per line to standard output. Only one side computes at a time, so that
changes of the machine's speed affect all sides equally.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paddlenlp.utils.errors import UserError

# Seconds after which the threads of the previous side sleep: those of OpenMP keep a core busy for
# 200 ms after they have finished.
SETTLE_SECONDS = 0.3


def answer_requests(handle: Callable[..., Any], versions: dict[str, str]) -> None:
    """Run as a side: call ``handle(**request)`` for every request until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    answers.write(json.dumps(versions) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(handle(**json.loads(line))) + "\n")
        answers.flush()


def answer_batches(
    run: Callable[[Any], Any], versions: dict[str, str], before_mb: float | None = None
) -> None:
    """Run as a side of an inference benchmark.

    A request has ``batches``, a list of ids [B, L]; 0 is padding. The answer has ``ms``, the
    milliseconds of each batch, the ``logits`` of the last one, and the memory of the process.

    Args:
        run: takes ids [B, L] int64, returns logits [B, C]; both NumPy arrays.
        versions: versions of the packages that compute.
        before_mb: resident memory before the model was opened, if it is measured.
    """
    import numpy as np

    def handle(batches):
        logits, milliseconds = [], []
        for batch in batches:
            ids = np.array(batch, dtype=np.int64)
            start = time.perf_counter()
            logits = run(ids)
            milliseconds.append(round((time.perf_counter() - start) * 1000, 2))
        memory = {**memory_mb(), "before_mb": before_mb}
        return {"logits": np.asarray(logits).tolist(), "ms": milliseconds, **memory}

    answer_requests(handle, versions)


def memory_mb() -> dict[str, float]:
    """Return the resident memory of this process now and at its peak, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "resident_mb": round(pages * resource.getpagesize() / 1e6, 1),
        "peak_mb": round(peak * 1024 / 1e6, 1),
    }


class Side:
    """A running side; a context manager that stops its process.

    Args:
        command: starts the side.
        variables: environment variables, in addition to those of this process.

    Raises:
        UserError: the process exited instead of answering.
    """

    def __init__(self, command: Sequence[str], **variables: str):
        self.command, pipe = [str(part) for part in command], subprocess.PIPE
        environment = {**os.environ, **variables}
        self._process = subprocess.Popen(
            self.command, stdin=pipe, stdout=pipe, text=True, env=environment
        )
        self.versions = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Wait until the threads of other sides sleep, send one request, return its answer."""
        time.sleep(SETTLE_SECONDS)
        with contextlib.suppress(BrokenPipeError):  # reading the answer reports an ended process
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        answer = self._process.stdout.readline()
        if not answer:
            status = self._process.wait()
            raise UserError(
                "step-failed", f"'{' '.join(self.command)}' exited with status {status}"
            )
        return json.loads(answer)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
