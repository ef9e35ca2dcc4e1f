"""Runs the steps of a plan, checks each, and reports: result lines, summary, exit status."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
import uuid
from collections.abc import Callable
from typing import IO

import psutil

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from tipc.judge import Wrong
from tipc.plan import Plan, Step

MARK = "TIPC_STEP"  # environment variable that all descendants of a command inherit
STOP_SECONDS = 15.0  # for a command to exit after SIGTERM
LEFTOVER_SECONDS = 2.0  # for the processes that it leaves behind
HEALTH_SECONDS = 2.0
POLL_SECONDS = 0.05
TIMED_OUT = 124  # exit statuses of a step, as a shell gives them
NOT_STARTED = 127
TERMINATED = 143
TAIL_LINES = 20
ROW = "{:<5} {:<9} {:<12} {:>7}  {}"
RESULT_WORDS = {"OK": "successfully", "SKIPPED": "skipped"}


class Child:
    """A command in a separate session, so that Ctrl-C reaches only the runner.

    Its descendants are found by a mark in their environment, even if their parent has exited.
    """

    def __init__(self, command: list[str], log: IO):
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, MARK: self._mark},
        )

    def status(self) -> int | None:
        """Exit status as a shell reports it (128 + N after signal N); None while it runs."""
        status = self._process.poll()
        return 128 - status if status is not None and status < 0 else status

    def end(self) -> int:
        """Terminate the command, kill it if it does not exit, and return its exit status."""
        self._process.terminate()  # does nothing if it has exited
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self.status()

    def end_all(self) -> int:
        """End the command and the processes that it leaves behind; return its exit status."""
        status = self.end()
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = psutil.process_iter(["environ"])  # None for processes of other users
            left = [each for each in found if (each.info["environ"] or {}).get(MARK) == self._mark]
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            psutil.wait_procs(left, LEFTOVER_SECONDS)
        return status


class Run:
    """One run of a plan, whose folder exists; ``label`` is part of the names of the result files.

    The time limits are those of a step, and of a server to become ready.
    """

    def __init__(self, plan: Plan, label: str, step_seconds: float, ready_seconds: float):
        self.steps, self.folder, self.label = plan.steps, plan.folder, label
        self.step_seconds, self.ready_seconds = step_seconds, ready_seconds
        self.results = self.folder / f"results_{label}.log"
        self.results.touch()
        # OK, FAILED, SKIPPED, INTERRUPTED or NOT RUN; and seconds
        self.outcomes = [("NOT RUN", "-")] * len(self.steps)
        self.server: Child | None = None
        self.signals: list[int] = []  # received ones are only recorded, so clean-up continues
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, lambda number, frame: self.signals.append(number))

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
        except KeyboardInterrupt:
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
        except KeyboardInterrupt:
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
            status = child.end_all()
        return status or _check(step, began, log)

    def _wait(self, condition: Callable[[], object], seconds: float) -> bool:
        """Poll a condition; return False if it does not hold within the time limit.

        Raises:
            KeyboardInterrupt: a signal was received.
        """
        deadline = time.monotonic() + seconds
        while not (self.signals or condition()):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        if self.signals:
            raise KeyboardInterrupt
        return True

    def _wait_ready(self, step: Step, log: IO) -> int:
        server, limit = self.server, self.ready_seconds
        self._wait(lambda: health(step.url) or server.status() is not None, limit)
        answer, status = health(step.url), server.status()
        if status is None and str(answer.get("device")).split(":")[0] == step.device:
            return 0
        failed = f"not ready with device {step.device} within {limit:g} s"
        print(f"{failed}: {step.url} answers {answer}; exit status {status}", file=log, flush=True)
        self._stop_server()
        return 1

    def _end_server(self, step: Step, log: IO) -> int:
        """Stop the server by its pid; check its exit status and its ports."""
        status = self.server.end() if self.server else 0
        free = self._wait(lambda: not any(map(is_open, step.frees)), LEFTOVER_SECONDS)
        self._stop_server()
        ports = "released" if free else "still in use"
        print(f"exit status of the server: {status}; ports {step.frees} {ports}", file=log)
        return int(not free) or (0 if status == TERMINATED else status)

    def _stop_server(self) -> None:
        if self.server:
            self.server.end_all()
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
            (self.folder / "summary.txt").write_text(summary, encoding="utf-8")
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
        rows = [("step", "name", "status", "seconds", "log")]
        for number, (step, outcome) in enumerate(zip(self.steps, self.outcomes), start=1):
            rows.append((number, step.name, *outcome, str(step.log.relative_to(self.folder))))
        bad, count = [row for row in rows[1:] if row[2] != "OK"], len(self.steps)
        end = f"all {count} steps OK"
        if bad:
            number, name, status, *_ = bad[0]
            end = f"FAILED at step {number} ({name}): {status}; {len(bad)} of {count} not OK"
        return "\n".join(["", *(ROW.format(*row) for row in rows), "", end, ""])


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


def health(url: str) -> dict:
    """The content of a health page; empty while it does not answer with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_SECONDS) as response:
            return json.load(response)
    except (OSError, ValueError):
        return {}


def is_open(port: int) -> bool:
    """Whether something listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
