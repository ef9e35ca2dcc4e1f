"""Two programs of different environments measured in turns: each is a process that answers lines.

A side first says its versions, then reads one JSON request a line on standard input and writes one
JSON answer a line on standard output. Only one side computes at a time, so both meet the same
changes of the machine's speed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def answer_requests(handle: Callable[..., Any], versions: dict[str, str]) -> None:
    """Be a side: call ``handle(**request)`` for every line until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    answers.write(json.dumps(versions) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(handle(**json.loads(line))) + "\n")
        answers.flush()


def answer_runs(run: Callable[[Any], Any], versions: dict[str, str]) -> None:
    """Be a side of an inference benchmark: ``run`` takes ids [B, L] int64, returns logits [B, C].

    A request ``ids, warm, runs`` is answered with the logits and the milliseconds of ``runs`` runs
    that follow ``warm`` others; both from and to arrays of NumPy.
    """
    import numpy as np

    def handle(ids, warm, runs):
        ids = np.array(ids, dtype=np.int64)
        for _ in range(warm):
            run(ids)
        milliseconds = []
        for _ in range(runs):
            start = time.perf_counter()
            logits = run(ids)
            milliseconds.append((time.perf_counter() - start) * 1000)
        return {"logits": np.asarray(logits).tolist(), "ms": milliseconds}

    answer_requests(handle, versions)


# Threads of a parallel region go on spinning after it, 200 ms in OpenMP: they would take the cores
# from the side whose turn comes next.
SETTLE_SECONDS = 0.3


class Side:
    """A running side; a context manager that ends its process.

    Raises:
        RuntimeError: the process ended instead of answering.
    """

    def __init__(self, command: Sequence[str]):
        self.command = [str(part) for part in command]
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Let the other sides' threads fall asleep, send one request and wait for its answer."""
        time.sleep(SETTLE_SECONDS)
        with contextlib.suppress(BrokenPipeError):  # reading the answer reports an ended process
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self.command)} ended with {self._process.wait()}")
        return json.loads(answer)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def run_step(command: Sequence[str]) -> None:
    """Run what a side needs beforehand, its output to standard error.

    Raises:
        RuntimeError: it failed.
    """
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
