"""Runs the steps of a plan, checks each, and reports: result lines, summary, exit status."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from typing import IO

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc.judge import Wrong
from tipc.plan import Plan, Step
from tipc.processes import LEFTOVER_SECONDS, Child, health, is_open, remember_signals, wait_until

TIMED_OUT = 124  # exit statuses of a step, as a shell gives them
NOT_STARTED = 127
TERMINATED = 143
TAIL_LINES = 20
ROW = "{:<5} {:<9} {:<12} {:>7}  {}\n"
RESULT_WORDS = {"OK": "successfully", "SKIPPED": "skipped"}


class Interrupted(Exception):
    """The run received a signal."""


class Run:
    """One run of a plan, whose folder exists.

    Args:
        plan: the steps and the folder.
        label: part of the names of the result files.
        step_seconds: time limit of a step.
        ready_seconds: time limit for a server to become ready.
    """

    def __init__(self, plan: Plan, label: str, step_seconds: float, ready_seconds: float):
        self.steps, self.folder, self.label = plan.steps, plan.folder, label
        self.step_seconds, self.ready_seconds = step_seconds, ready_seconds
        self.results = self.folder / f"results_{label}.log"
        self.results.touch()
        # OK, FAILED, SKIPPED, INTERRUPTED or NOT RUN; and seconds
        self.outcomes = [("NOT RUN", "-")] * len(self.steps)
        self.signals = remember_signals()
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
            self._wait(lambda: True, 0)
        except Interrupted:
            name = signal.Signals(self.signals[0]).name
            print(f"\ninterrupted by {name}: stopping what this run started")
            status = 128 + self.signals[0]
        except OSError as error:  # a full disk, a run folder that was removed
            print(f"cannot continue: {error}", file=sys.stderr)
            status = 1
        finally:
            self._stop_server()
        summary = self._summary()
        print(summary, end="")
        all_ok = bool(self.steps) and all(outcome == "OK" for outcome, _ in self.outcomes)
        return status if self._publish(summary) and all_ok else status or 1

    def _run_step(self, number: int, step: Step) -> None:
        title = f"step {number} of {len(self.steps)}, {step.name}"
        missing = [need for need in step.needs if self.outcomes[need - 1][0] != "OK"]
        if missing and not step.frees:  # a server that is not ready must be stopped, too
            print(f"{title}: skipped, it needs step {missing[0]}")
            self._record(number, "SKIPPED")
            return
        print(f"{title} ...")
        step.log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            # Logs contain any output of the programs, and file names that are not UTF-8.
            with open(step.log, "w", encoding="utf-8", errors="backslashreplace") as log:
                status = self._attempt(step, log)
        except Interrupted:
            self._record(number, "INTERRUPTED")
            raise
        self._record(number, "FAILED" if status else "OK", time.monotonic() - began)
        if status:
            print(f"{title}: FAILED with status {status}; the end of {step.log}:")
            lines = step.log.read_text(encoding="utf-8", errors="replace").splitlines()
            print(*(f"    | {line}" for line in lines[-TAIL_LINES:]), sep="\n")

    def _attempt(self, step: Step, log: IO) -> int:
        """Run a step and return its status; errors are written to its log."""
        if step.frees:
            return self._end_server(step, log)
        began = os.fstat(log.fileno()).st_mtime_ns  # by the clock of the file system
        try:
            child = Child(step.command, log)
        except OSError as error:
            print(f"cannot start {step.command[0]}: {error.strerror}", file=log)
            return NOT_STARTED
        if step.url:
            self.server = child
            return self._wait_ready(step, log)
        try:
            if not self._wait(lambda: child.status() is not None, self.step_seconds):
                print(f"not finished within {self.step_seconds:g} s", file=log, flush=True)
                return TIMED_OUT
        finally:
            status = child.end()
            child.end_leftovers()
        return status or _check(step, began, log)

    def _wait(self, condition: Callable[[], object], seconds: float) -> bool:
        """`wait_until` that raises `Interrupted` after a signal."""
        met = wait_until(lambda: self.signals or condition(), seconds)
        if self.signals:
            raise Interrupted
        return met

    def _wait_ready(self, step: Step, log: IO) -> int:
        answer: dict = {}

        def ready_or_ended() -> bool:
            answer.update(health(step.url))
            return bool(answer) or self.server.status() is not None

        self._wait(ready_or_ended, self.ready_seconds)
        status, device = self.server.status(), str(answer.get("device")).split(":")[0]
        print(f"{step.url} answers {answer}", file=log, flush=True)
        if status is None and device == step.device:
            return 0
        wanted = f"not ready with device {step.device} within {self.ready_seconds:g} s"
        print(f"{wanted}; exit status: {status}", file=log, flush=True)
        self._stop_server()
        return 1

    def _end_server(self, step: Step, log: IO) -> int:
        """Stop the server by its pid; check its exit status and its ports."""
        status = self.server.end() if self.server else 0
        free = wait_until(lambda: not any(map(is_open, step.frees)), LEFTOVER_SECONDS)
        self._stop_server()
        ports = "released" if free else "still in use"
        print(f"exit status of the server: {status}; ports {step.frees} {ports}", file=log)
        return int(not free) or (0 if status == TERMINATED else status)

    def _stop_server(self) -> None:
        if self.server:
            self.server.end()
            self.server.end_leftovers()
        self.server = None

    def _record(self, number: int, status: str, seconds: float = 0) -> None:
        """One result line, as TIPC prints it, and the outcome for the summary."""
        step = self.steps[number - 1]
        self.outcomes[number - 1] = status, f"{seconds:.0f}"
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
            with atomic_write(base / self.results.name, "wb") as file:
                file.write(self.results.read_bytes())
            link.symlink_to(self.folder.name)
            os.replace(link, base / f"latest_{self.label}")
        except (OSError, UserError) as error:
            link.unlink(missing_ok=True)
            message = f"the results in {base} are not from this run: see {self.results}"
            print(f"{message} ({error})", file=sys.stderr)
            return False
        return True

    def _summary(self) -> str:
        """A row for each step, and a last line with the result of the run."""
        text, bad, end = "\n" + ROW.format("step", "name", "status", "seconds", "log"), 0, ""
        for number, (step, outcome) in enumerate(zip(self.steps, self.outcomes), start=1):
            text += ROW.format(number, step.name, *outcome, str(step.log.relative_to(self.folder)))
            if outcome[0] != "OK":
                end = end or f"FAILED at step {number} ({step.name}): {outcome[0]}; "
                bad += 1
        count = len(self.steps)
        end = f"{end}{bad} of {count} not OK" if bad else f"all {count} steps OK"
        return f"{text}\n{end}\n"


def _check(step: Step, began: int, log: IO) -> int:
    """Check the products of a step; return 1 and write why to its log if they are wrong."""
    try:
        for path in step.makes:
            # A file that is older than the step is from an earlier run.
            if not path.is_file() or not path.stat().st_size or path.stat().st_mtime_ns < began:
                raise Wrong(f"the command succeeded but did not write {path} in this run")
        if step.check:
            with contextlib.redirect_stdout(log):
                step.check()
    except (Wrong, UserError) as error:
        print(f"compare_results: {error}", file=log)
    except Exception:  # the output of a broken program must fail its step, not the whole run
        traceback.print_exc(file=log)
    else:
        return 0
    return 1
