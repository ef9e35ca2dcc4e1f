"""Clients of the HTTP service: each has one connection and one in-flight request."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np

from convbert.text.processing import Prediction

PATH = "/convbert/prediction"
BUSY = 3010  # err_no


class Reply(NamedTuple):
    """One reply: "right", "wrong", "busy" or the name of an error; its duration and its time."""

    kind: str
    seconds: float
    end: float


def run_load(
    port: int,
    clients: int,
    seconds: float,
    texts: Sequence[str],
    expected: dict[str, Prediction] | None = None,
) -> dict[str, Any]:
    """Send texts for some seconds and return the numbers.

    Args:
        port: port of the service on loopback.
        clients: number of clients.
        seconds: how long they send.
        texts: sent in turn; every client starts at another one.
        expected: the right answer to each text; None: answers are not checked.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        running = [
            pool.submit(run_client, port, number * 7, began + seconds, texts, expected or {})
            for number in range(clients)
        ]
    replies = [reply for each in running for reply in each.result()]
    return summary(replies, time.perf_counter() - began)


def run_client(
    port: int, first: int, end: float, texts: Sequence[str], expected: dict[str, Prediction]
) -> list[Reply]:
    """Send texts until ``end``; after a busy answer, wait as it says."""
    connection, replies = connect(port), []
    for text in islice(cycle(texts), first, None):
        began, pause = time.perf_counter(), 0.0
        if began >= end:
            break
        try:
            answer, retry_after = send(connection, text)
            kind = kind_of(answer, expected.get(text))
            pause = retry_after if kind == "busy" else 0.0
        except (OSError, ValueError, http.client.HTTPException) as error:
            kind = type(error).__name__
            connection.close()
        now = time.perf_counter()
        replies.append(Reply(kind, now - began, now))
        time.sleep(pause)
    connection.close()
    return replies


def connect(port: int) -> http.client.HTTPConnection:
    """Return a connection to the service."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def send(connection: http.client.HTTPConnection, text: str) -> tuple[dict[str, Any], float]:
    """Send one text; return the answer, and the seconds to wait before the next if busy."""
    connection.request("POST", PATH, json.dumps({"key": ["text"], "value": [text]}))
    response = connection.getresponse()
    return json.loads(response.read()), float(response.headers.get("Retry-After", 1))


def kind_of(answer: dict[str, Any], expected: Prediction | None) -> str:
    """Return the kind of an answer; without an expected one every label is right."""
    code = answer.get("err_no")
    if code == BUSY:
        return "busy"
    if code != 0:
        return f"err_no {code}"
    label, prob = (json.loads(value)[0] for value in answer["value"][:2])
    if expected and (label != expected.label_id or abs(prob - expected.prob) > 1e-5):
        return "wrong"
    return "right"


def summary(replies: Sequence[Reply], seconds: float) -> dict[str, Any]:
    """Return the numbers of all clients together."""
    kinds = Counter(reply.kind for reply in replies)
    answers = [reply for reply in replies if reply.kind in ("right", "wrong")]
    busy = [reply.seconds for reply in replies if reply.kind == "busy"]
    durations, ends = [each.seconds for each in answers], sorted(each.end for each in answers)
    return {
        "answers": len(answers),
        "answers_per_s": round(len(answers) / seconds, 2),
        "p50_ms": percentile(durations, 50),
        "p99_ms": percentile(durations, 99),
        "busy": len(busy),
        "busy_p99_ms": percentile(busy, 99),
        "errors": {name: kinds[name] for name in sorted(set(kinds) - {"right", "wrong", "busy"})},
        "wrong": kinds["wrong"],
        "longest_pause_s": round(float(np.diff(ends).max()), 1) if len(ends) > 1 else None,
    }


def percentile(seconds: Sequence[float], share: int) -> float | None:
    """Return a percentile in ms; None without values."""
    return round(float(np.percentile(seconds, share)) * 1000, 1) if seconds else None
