"""Models of the published sizes, bounded clients, and a service to measure."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
REVIEWS = ROOT / "data" / "reviews"
WEB_SERVICE = ROOT / "deploy" / "serving_python" / "web_service.py"
START_PATIENCE_S = 180.0
ENVIRONMENT = dict(os.environ)  # before this program changes its own
PATH = "/convbert/prediction"


def read_texts(path: Path) -> list[str]:
    """Return the sentences of a TSV file of SST-2's form."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def make_model(size: str, cache: Path) -> Path:
    """Return the served directory of a model of published size and random weights, made once."""
    served = cache / size / "convbert_server"
    if served.is_dir():
        return served
    import paddle

    from convbert.inference.export import export_checkpoint
    from convbert.serving.served_model import convert
    from paddlenlp.transformers import (
        ConvBertConfig,
        ConvBertForSequenceClassification,
        ConvBertTokenizer,
    )

    paddle.seed(0)
    config = ConvBertConfig.preset(size)
    checkpoint, exported = cache / size / "checkpoint", cache / size / "convbert_infer"
    words = (REVIEWS / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += [f"[unused{number}]" for number in range(config.vocab_size - len(words))]
    checkpoint.mkdir(parents=True, exist_ok=True)
    (cache / size / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    ConvBertForSequenceClassification(config).save_pretrained(str(checkpoint))
    ConvBertTokenizer(cache / size / "vocab.txt").save_pretrained(str(checkpoint))
    export_checkpoint(str(checkpoint), str(exported))
    convert(str(exported), str(served), str(cache / size / "convbert_client"))
    return served


@dataclass
class Tally:
    """What became of the requests of one client."""

    seconds: list[float] = field(default_factory=list)  # of answers with a label
    ends: list[float] = field(default_factory=list)  # when they came
    busy_seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0


@dataclass(frozen=True)
class Load:
    """A number of clients, each with one request at a time, for some seconds."""

    port: int
    clients: int
    seconds: float
    texts: Sequence[str]
    expected: dict[str, list[str]] | None = None  # text -> value of its answer

    def run(self, every: float = 5.0, watch: Callable[[], None] | None = None) -> dict[str, Any]:
        """Send for the given time and return the numbers; ``watch`` is called ``every`` seconds."""
        tallies = [Tally() for _ in range(self.clients)]
        end = time.monotonic() + self.seconds
        threads = [
            threading.Thread(target=self._client, args=(number, tally, end))
            for number, tally in enumerate(tallies)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        while watch and time.monotonic() < end:
            watch()
            time.sleep(max(0.0, min(every, end - time.monotonic())))
        for thread in threads:
            thread.join()
        return _summary(tallies, time.monotonic() - began)

    def _client(self, number: int, tally: Tally, end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        turn = number * 7
        while time.monotonic() < end:
            text = self.texts[turn % len(self.texts)]
            turn += 1
            body = json.dumps({"key": ["text"], "value": [text], "logid": turn})
            began = time.perf_counter()
            try:
                connection.request("POST", PATH, body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, ValueError, http.client.HTTPException) as error:
                tally.errors.append(type(error).__name__)
                connection.close()
                continue
            seconds = time.perf_counter() - began
            if answer.get("err_no") == 0:
                tally.seconds.append(seconds)
                tally.ends.append(began + seconds)
                tally.wrong += not self._right(text, answer)
            elif answer.get("err_no") == 3010:  # as it asks: wait, then come again
                tally.busy_seconds.append(seconds)
                time.sleep(float(response.headers.get("Retry-After", 1)))
            else:
                tally.errors.append(f"err_no {answer.get('err_no', answer.get('code'))}")
        connection.close()

    def _right(self, text: str, answer: dict) -> bool:
        if self.expected is None:
            return True
        label, prob = (json.loads(value)[0] for value in answer["value"])
        expected_label, expected_prob = self.expected[text]
        return label == expected_label and abs(prob - expected_prob) <= 1e-5


def _summary(tallies: Sequence[Tally], seconds: float) -> dict[str, Any]:
    answered = [value for tally in tallies for value in tally.seconds]
    busy = [value for tally in tallies for value in tally.busy_seconds]
    errors = [error for tally in tallies for error in tally.errors]
    return {
        "answers": len(answered),
        "answers_per_s": round(len(answered) / seconds, 2),
        **_milliseconds("", answered),
        "busy": len(busy),
        **_milliseconds("busy_", busy),
        "errors": {name: errors.count(name) for name in sorted(set(errors))},
        "wrong": sum(tally.wrong for tally in tallies),
        "longest_pause_s": _longest_pause([end for tally in tallies for end in tally.ends]),
    }


def _longest_pause(ends: Sequence[float]) -> float | None:
    """Return the most seconds between an answer and the next of any client."""
    return round(float(np.diff(np.sort(ends)).max()), 1) if len(ends) > 1 else None


def _milliseconds(prefix: str, seconds: Sequence[float]) -> dict[str, float | None]:
    shares = {"p50_ms": 50, "p99_ms": 99}
    return {
        prefix + name: round(float(np.percentile(seconds, share)) * 1000, 1) if seconds else None
        for name, share in shares.items()
    }


class Running:
    """A service started for a measurement, stopped by its own process id.

    Args:
        command: starts it in the foreground.
        port, rpc_port: where it will answer HTTP and gRPC.
        folder: working directory, for what it writes.

    It gets the environment that the measuring program was started with, none of its settings.
    """

    def __init__(self, command: list[str], port: int, rpc_port: int, folder: Path):
        self.port, self.rpc_port = port, rpc_port
        self._command, self._folder = command, folder

    def __enter__(self) -> Running:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "output.txt", "w") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=str(self._folder),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        began = time.monotonic()
        while time.monotonic() - began < START_PATIENCE_S and self._process.poll() is None:
            result = Load(self.port, 1, 0.1, ["ready ?"]).run()
            if result["answers"]:
                return self
            time.sleep(0.2)
        self.__exit__()
        output = (self._folder / "output.txt").read_text()
        raise RuntimeError(f"the service did not start: {output[-2000:]}")

    def __exit__(self, *exception: Any) -> None:
        if self._process.poll() is None:
            # The plain pipeline leaves orphans on SIGTERM: the whole group is its own.
            os.killpg(self._process.pid, 2)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait()

    def memory_mb(self) -> dict[str, float]:
        """Return the resident memory of the service's processes by their part in it."""
        parts = {"front": self._process.pid}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/health")
        parts["pipeline"] = json.loads(connection.getresponse().read())["pipeline_pid"]
        connection.close()
        return {name: round(_resident_mb(pid), 1) for name, pid in parts.items()}

    def cpu_seconds(self) -> float:
        """Return the CPU time that the service's processes have used."""
        return sum(map(_cpu_seconds, _family(self._process.pid)))


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        children.setdefault(int((_stat(stat) or ["", "0"])[1]), []).append(int(stat.parent.name))
    family = [pid]
    for member in family:  # grows while it is read
        family += children.get(member, [])
    return family


def _stat(path: Path) -> list[str]:
    """Return the fields after the name, from the state on; [] when the process has just ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_seconds(pid: int) -> float:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> tuple[float, float]:
    """Return the CPU seconds that this machine has been busy, and busy or idle, since its start."""
    times = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle, tick = times[3] + times[4], os.sysconf("SC_CLK_TCK")  # user nice system idle iowait ...
    return (sum(times) - idle) / tick, sum(times) / tick


class Others:
    """The share of the machine that neither this process nor the service uses."""

    def __init__(self, service: Running | None = None):
        self._service = service
        self._before = self._read()

    def share(self) -> float:
        """Return it, from 0 to 1, since the start."""
        ours, busy, all_ = (now - then for now, then in zip(self._read(), self._before))
        return round(max(0.0, busy - ours) / all_, 3)

    def _read(self) -> tuple[float, float, float]:
        own = time.process_time() + (self._service.cpu_seconds() if self._service else 0.0)
        return (own, *machine_seconds())


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def mended_service(model: Path, port: int, rpc_port: int, folder: Path, *opts: str) -> Running:
    """Return this repository's service."""
    command = [sys.executable, str(WEB_SERVICE), "--model_dir", str(model)]
    command += ["--port", str(port), "--rpc_port", str(rpc_port), "--run_dir", str(folder / "run")]
    return Running(command + (["--opt", *opts] if opts else []), port, rpc_port, folder)


def plain_service(model: Path, port: int, rpc_port: int, folder: Path) -> Running:
    """Return the pipeline as Paddle Serving ships it: its defaults, its Go gateway."""
    script = str(Path(__file__).with_name("plain_service.py"))
    command = [sys.executable, script, str(model), str(port), str(rpc_port)]
    return Running(command, port, rpc_port, folder)
