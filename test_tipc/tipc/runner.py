"""Runs the steps of a plan, checks each, and reports: result lines, summary, exit status."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc.plan import StartServer, Step, StopServer
from tipc.processes import (
    LEFTOVER_SECONDS,
    Child,
    Interrupted,
    SignalFlag,
    health,
    is_open,
    wait_until,
)

TIMED_OUT = 124  # exit statuses of a step, as a shell gives them
NOT_STARTED = 127
TERMINATED = 143
TAIL_LINES = 20
ROW = "{:<5} {:<9} {:<12} {:>7}  {}"
RESULT_WORDS = {"OK": "successfully", "SKIPPED": "skipped"}


class Run:
    """One run of a plan.

    Args:
        steps: the plan.
        folder: the run folder; it exists.
        label: part of the names of the result files.
        step_seconds: time limit of a step.
        ready_seconds: time limit for a server to become ready.
    """

    def __init__(
        self,
        steps: list[Step],
        folder: Path,
        label: str,
        step_seconds: float,
        ready_seconds: float,
    ):
        self.steps, self.folder, self.label = steps, folder, label
        self.step_seconds, self.ready_seconds = step_seconds, ready_seconds
        self.results = folder / f"results_{label}.log"
        self.results.touch()
        # OK, FAILED, SKIPPED, INTERRUPTED or NOT RUN; and seconds
        self.outcomes = dict.fromkeys(range(1, len(steps) + 1), ("NOT RUN", "-"))
        self.signals = SignalFlag()
        self.server: Child | None = None

    def execute(self) -> int:
        """Run all steps; if a step fails, only the steps that need it are skipped.

        Returns:
            0: every step succeeded; 1: a step failed; 128 + N: stopped by signal N.
        """
        status = 0
        try:
            for number, step in enumerate(self.steps, start=1):
                self._run_step(number, step)
            self.signals.check()
        except Interrupted as signal:
            print(f"\ninterrupted by {signal}: stopping what this run started")
            status = 128 + signal.number
        except OSError as error:  # a full disk, a run folder that was removed
            print(f"cannot continue: {error}", file=sys.stderr)
            status = 1
        finally:
            self._stop_server()
        bad = [number for number, (found, _) in self.outcomes.items() if found != "OK"]
        summary = self._summary(bad)
        print(summary, end="")
        if not self._publish(summary) or bad or not self.steps:
            status = status or 1
        return status

    def _run_step(self, number: int, step: Step) -> None:
        title = f"step {number} of {len(self.steps)}, {step.name}"
        missing = [need for need in step.needs if self.outcomes[need][0] != "OK"]
        if missing and not isinstance(step, StopServer):
            print(f"{title}: skipped, it needs step {missing[0]}")
            self._record(number, "SKIPPED", 0)
            return
        print(f"{title} ...")
        step.log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            # Logs contain any output of the programs, and file names that are not UTF-8.
            with open(step.log, "w", encoding="utf-8", errors="backslashreplace") as log:
                status = self._attempt(step, log)
        except Interrupted:
            self._record(number, "INTERRUPTED", 0)
            raise
        self._record(number, "FAILED" if status else "OK", time.monotonic() - began)
        if status:
            print(f"{title}: FAILED with status {status}; the end of {step.log}:")
            lines = step.log.read_text(encoding="utf-8", errors="replace").splitlines()
            print(*(f"    | {line}" for line in lines[-TAIL_LINES:]), sep="\n")

    def _attempt(self, step: Step, log: IO) -> int:
        """Run a step and return its status; errors are written to its log."""
        if isinstance(step, StopServer):
            return self._end_server(step, log)
        began = os.fstat(log.fileno()).st_mtime_ns  # by the clock of the file system
        try:
            child = Child(step.command, log)
        except OSError as error:
            print(f"cannot start {step.command[0]}: {error.strerror}", file=log)
            return NOT_STARTED
        if isinstance(step, StartServer):
            self.server = child
            return self._wait_ready(step, log)
        try:
            if not self._wait(lambda: child.status() is not None, self.step_seconds):
                print(f"not finished within {self.step_seconds:g} s", file=log, flush=True)
                return TIMED_OUT
        finally:
            status = child.end()
            child.end_leftovers()
        if status:
            return status
        wrong = _not_written(step, began) or _judge(step, log)
        for line in wrong:
            print(f"compare_results: {line}", file=log)
        return int(bool(wrong))

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        def interruptible() -> bool:
            self.signals.check()
            return condition()

        return wait_until(interruptible, seconds)

    # ---------------------------------------------------------------- the server

    def _wait_ready(self, step: StartServer, log: IO) -> int:
        answer = None

        def ready_or_ended() -> bool:
            nonlocal answer
            answer = health(step.url)
            return answer is not None or self.server.status() is not None

        self._wait(ready_or_ended, self.ready_seconds)
        device = str((answer or {}).get("device")).split(":")[0]
        if self.server.status() is not None:
            wrong = "the server ended before it was ready"
        elif answer is None:
            wrong = f"the server at {step.url} was not ready within {self.ready_seconds:g} s"
        elif device != step.device:
            wrong = f"the server reports device {device}, expected {step.device}"
        else:
            print(f"ready: {answer}", file=log)
            return 0
        print(wrong, file=log, flush=True)
        self._stop_server()
        return 1

    def _end_server(self, step: StopServer, log: IO) -> int:
        """Stop the server by its pid; check its exit status and its ports."""
        status = 0
        if self.server:
            status = self.server.end()
            print(f"the server ended with status {status}", file=log)
        free = wait_until(lambda: not any(map(is_open, step.ports)), LEFTOVER_SECONDS)
        self._stop_server()
        if not free:
            print(f"one of the ports {step.ports} is still in use", file=log)
        return int(not free) or (0 if status == TERMINATED else status)

    def _stop_server(self) -> None:
        if self.server:
            self.server.end()
            self.server.end_leftovers()
        self.server = None

    # ---------------------------------------------------------------- the report

    def _record(self, number: int, status: str, seconds: float) -> None:
        """One result line, as TIPC prints it, and the outcome for the summary."""
        step = self.steps[number - 1]
        self.outcomes[number] = status, f"{seconds:.0f}"
        command = f"{shlex.join(step.command)} > {step.log} 2>&1 "
        line = f" Run {RESULT_WORDS.get(status, 'failed')} with command - {command}!  "
        print(line)
        with open(self.results, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")

    def _publish(self, summary: str) -> bool:
        """Write the summary; put the results and a link to the run folder beside it."""
        base = self.folder.parent
        link = base / f".latest.{uuid.uuid4().hex}"
        try:
            with atomic_write(self.folder / "summary.txt") as file:
                file.write(summary)
            with atomic_write(base / f"results_{self.label}.log", "wb") as file:
                file.write(self.results.read_bytes())
            link.symlink_to(self.folder.name)
            os.replace(link, base / f"latest_{self.label}")
        except (OSError, UserError) as error:
            link.unlink(missing_ok=True)
            message = f"the results in {base} are not from this run: see {self.results}"
            print(f"{message} ({error})", file=sys.stderr)
            return False
        return True

    def _summary(self, bad: list[int]) -> str:
        """A row for each step, and a last line with the result of the run."""
        rows = [ROW.format("step", "name", "status", "seconds", "log")]
        for (number, outcome), step in zip(self.outcomes.items(), self.steps):
            log = step.log.relative_to(self.folder)
            rows.append(ROW.format(number, step.name, *outcome, str(log)))
        end = f"all {len(self.steps)} steps OK"
        if bad:
            name, status = self.steps[bad[0] - 1].name, self.outcomes[bad[0]][0]
            end = f"FAILED at step {bad[0]} ({name}): {status}; "
            end += f"{len(bad)} of {len(self.steps)} not OK"
        return "\n".join(["", *rows, "", end, ""])


def _not_written(step: Step, began: int) -> list[str]:
    """The first file that a step must write but that is missing, empty or older than the step."""
    for path in step.makes:
        if not path.is_file() or not path.stat().st_size:
            return [f"the command succeeded but did not write {path}"]
        if path.stat().st_mtime_ns < began:
            return [f"{path} is older than this step: it is from an earlier run"]
    return []


def _judge(step: Step, log: IO) -> list[str]:
    if step.check is None:
        return []
    try:
        with contextlib.redirect_stdout(log):
            return step.check() or []
    except UserError as error:
        return [str(error)]
    except Exception:  # the output of a broken program must fail its step, not the whole run
        traceback.print_exc(file=log)
        return ["the output cannot be checked"]
