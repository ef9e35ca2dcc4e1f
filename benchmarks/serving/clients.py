"""Clients of the HTTP service: each has one connection and one in-flight request."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convbert.text.processing import Prediction

PATH = "/convbert/prediction"
BUSY = 3010  # err_no


@dataclass
class Tally:
    """The results of one client's requests."""

    seconds: list[float] = field(default_factory=list)  # duration of each answer with a label
    ends: list[float] = field(default_factory=list)  # when it arrived
    busy_seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0


@dataclass(frozen=True)
class Load:
    """A number of clients that send texts for some seconds.

    Args:
        port: port of the service on loopback.
        clients: number of clients.
        seconds: how long they send.
        texts: sent in turn; every client starts at another one.
        expected: the right answer to each text; None: answers are not checked.
    """

    port: int
    clients: int
    seconds: float
    texts: Sequence[str]
    expected: dict[str, Prediction] | None = None

    def run(self, every: float = 5.0, watch: Callable[[], None] | None = None) -> dict[str, Any]:
        """Send, and return the numbers; meanwhile call ``watch`` ``every`` seconds."""
        tallies = [Tally() for _ in range(self.clients)]
        began = time.monotonic()
        end = began + self.seconds
        threads = [
            threading.Thread(target=self._client, args=(number, tally, end))
            for number, tally in enumerate(tallies)
        ]
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
            began = time.perf_counter()
            try:
                answer, retry_after = send(connection, text)
            except (OSError, ValueError, http.client.HTTPException) as error:
                tally.errors.append(type(error).__name__)
                connection.close()
                continue
            seconds, code = time.perf_counter() - began, answer.get("err_no")
            if code == 0:
                tally.seconds.append(seconds)
                tally.ends.append(began + seconds)
                tally.wrong += not self._is_right(text, answer)
            elif code == BUSY:
                tally.busy_seconds.append(seconds)
                time.sleep(retry_after)
            else:
                tally.errors.append(f"err_no {code}")
        connection.close()

    def _is_right(self, text: str, answer: dict[str, Any]) -> bool:
        if self.expected is None:
            return True
        label, prob = (json.loads(value)[0] for value in answer["value"][:2])
        expected = self.expected[text]
        return label == expected.label_id and abs(prob - expected.prob) <= 1e-5


def send(connection: http.client.HTTPConnection, text: str) -> tuple[dict[str, Any], float]:
    """Send one text; return the answer, and the seconds to wait before the next if busy."""
    connection.request("POST", PATH, json.dumps({"key": ["text"], "value": [text]}))
    response = connection.getresponse()
    return json.loads(response.read()), float(response.headers.get("Retry-After", 1))


def _summary(tallies: Sequence[Tally], seconds: float) -> dict[str, Any]:
    answered = [value for tally in tallies for value in tally.seconds]
    busy = [value for tally in tallies for value in tally.busy_seconds]
    errors = [error for tally in tallies for error in tally.errors]
    ends = np.sort([end for tally in tallies for end in tally.ends])
    return {
        "answers": len(answered),
        "answers_per_s": round(len(answered) / seconds, 2),
        "p50_ms": _percentile(answered, 50),
        "p99_ms": _percentile(answered, 99),
        "busy": len(busy),
        "busy_p99_ms": _percentile(busy, 99),
        "errors": {name: errors.count(name) for name in sorted(set(errors))},
        "wrong": sum(tally.wrong for tally in tallies),
        "longest_pause_s": round(float(np.diff(ends).max()), 1) if len(ends) > 1 else None,
    }


def _percentile(seconds: Sequence[float], share: int) -> float | None:
    """Return a percentile in ms; None without values."""
    return round(float(np.percentile(seconds, share)) * 1000, 1) if seconds else None
