"""Waiting for a server to become ready, with a deadline, and for its ports to become free."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request

from convbert.command.flags import make_parser
from paddlenlp.utils.errors import UserError

POLL_S = 0.2
ANSWER_S = 5.0


def wait_ready(argv: list[str]) -> int:
    """Poll a health page until it answers 200 and says what is expected.

    Raises:
        UserError: the process ended, or the deadline passed.
    """
    parser = make_parser("Wait for a server.")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--expect", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    began = time.monotonic()
    while time.monotonic() - began < args.seconds:
        if not process_runs(args.pid):
            raise UserError("service", "the server ended before it was ready: see the lines above")
        state = health(args.url)
        if state is not None:
            print(f"ready after {time.monotonic() - began:.1f} s: {json.dumps(state)}")
            return _check(state, args.expect)
        time.sleep(POLL_S)
    raise UserError(
        "service", f"the server at {args.url} was not ready within {args.seconds:.0f} s"
    )


def _check(state: dict, expected: list[str]) -> int:
    for pair in expected:
        name, _, wanted = pair.partition("=")
        found = str(state.get(name))
        if found.split(":")[0] != wanted:
            print(f"the server says {name} is {found}, asked for {wanted}")
            return 1
    return 0


def process_runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def health(url: str) -> dict | None:
    """What the health page says, or None while it does not answer 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_S) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


def free_ports(count: int) -> list[int]:
    """Name ports that nobody uses on the loopback address now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def ports_free(argv: list[str]) -> int:
    """Return 1 and say which of the given ports is still in use."""
    parser = make_parser("Check that ports are free.")
    parser.add_argument("ports", type=int, nargs="+")
    busy = [port for port in parser.parse_args(argv).ports if _answers(port)]
    for port in busy:
        print(f"port {port} is still in use (checked by process {os.getpid()})")
    return int(bool(busy))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
