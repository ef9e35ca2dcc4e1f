"""Programs of different environments measured in turns: each is a process that answers requests.

A side first writes its versions, then reads one JSON request per line from standard input and
writes one JSON answer per line to standard output. Only one side computes at a time, so that
changes of the machine's speed affect all sides equally.
"""

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

import numpy as np

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError

# Seconds after which the threads of the previous side sleep: those of OpenMP keep a core busy for
# 200 ms after they have finished.
SETTLE_SECONDS = 0.3
TOLERANCE = 1e-5  # of the logits


def answer_requests(handle: Callable[..., Any], *packages: str) -> None:
    """Run as a side: call ``handle(**request)`` for every request until standard input ends.

    Args:
        handle: returns the answer to a request.
        packages: the imported packages that compute.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    versions = {name: sys.modules[name].__version__.split("-")[0] for name in packages}
    answers.write(json.dumps(versions) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(handle(**json.loads(line))) + "\n")


def answer_batches(
    run: Callable[[np.ndarray], np.ndarray], *packages: str, before_mb: float | None = None
) -> None:
    """Run as a side that computes logits.

    A request has ``batches``, a list of ids [B, L]; 0 is padding. The answer has ``ms``, the
    milliseconds of each batch, the ``logits`` of the last one, and the memory of the process.

    Args:
        run: takes ids [B, L] int64, returns logits [B, C].
        packages: the imported packages that compute.
        before_mb: resident memory before the model was opened, if it is measured.
    """

    def handle(batches):
        milliseconds = []
        for batch in batches:
            ids = np.array(batch, dtype=np.int64)
            start = time.perf_counter()
            logits = run(ids)
            milliseconds.append(round((time.perf_counter() - start) * 1000, 2))
        answer = {"logits": np.asarray(logits).tolist(), "ms": milliseconds}
        return {**answer, "before_mb": before_mb, **memory_mb()}

    answer_requests(handle, *packages)


def memory_mb() -> dict[str, float]:
    """Return the resident memory of this process now and at its peak, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "resident_mb": round(pages * resource.getpagesize() / 1e6, 1),
        "peak_mb": round(peak * 1024 / 1e6, 1),
    }


def command(script: str, *arguments: Any) -> list[str]:
    """Return the command line of ours.py, or of peers.py in the environment of the peers.

    Raises:
        UserError: that environment is missing.
    """
    python = Path(sys.executable)
    if script == "peers.py":
        python = ROOT / ".venv-peers" / "bin" / "python"
    if not python.exists():
        raise UserError(
            "environment", ".venv-peers is missing: bash benchmarks/run.sh inference makes it"
        )
    return [str(python), str(Path(__file__).with_name(script)), *map(str, arguments)]


class Side:
    """A running side; a context manager that stops its process.

    Args:
        command: starts the side.

    Raises:
        UserError: the process exited instead of answering.
    """

    def __init__(self, command: Sequence[str]):
        self._command, pipe = command, subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
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
            words = " ".join(self._command)
            raise UserError("step-failed", f"'{words}' exited with status {status}")
        return json.loads(answer)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def all_versions(sides: dict[str, Side]) -> dict[str, str]:
    """Return the versions of all sides by package."""
    return {
        package: version for side in sides.values() for package, version in side.versions.items()
    }


def logit_differences(
    answers: dict[str, Any], reference: str, exact: Sequence[str]
) -> dict[str, float]:
    """Return the largest difference of each side's logits from those of the reference.

    Raises:
        UserError: the difference of a side in ``exact`` is above `TOLERANCE`.
    """
    differences = {
        name: float(np.abs(np.subtract(logits, answers[reference])).max())
        for name, logits in answers.items()
    }
    for name in exact:
        if not differences[name] <= TOLERANCE:  # also catches nan
            raise UserError(
                "outputs-differ",
                f"the logits of {name} differ by {differences[name]:.1e}: nothing was timed",
            )
    return differences
