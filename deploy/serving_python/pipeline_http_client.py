"""Send texts to the service over HTTP and print its answers."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.start import run_main
from convbert.serving.clients import CallError, client_parser, send_all
from paddlenlp.utils.errors import UserError

DEFAULT_URL = "http://127.0.0.1:18080/convbert/prediction"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = client_parser(__doc__)
    parser.add_argument("--url", default=DEFAULT_URL, help="address of the service (%(default)s)")
    return parser.parse_args(argv)


class HttpSender:
    """Posts requests to one URL."""

    def __init__(self, url: str, timeout: float):
        self._url, self._timeout = url, timeout
        # A proxy of the environment cannot reach this machine's own loopback.
        proxies = {} if _host(url) in LOOPBACK_NAMES else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def __call__(self, text: str, log_id: int) -> object:
        """Return the answer's JSON, also that of an error."""
        body = json.dumps({"key": ["text"], "value": [text], "logid": log_id})
        request = urllib.request.Request(
            self._url, body.encode(), {"Content-Type": "application/json"}
        )
        try:
            return self._ask(request)
        except http.client.HTTPException as error:  # another protocol, or an answer cut short
            reason = f"{type(error).__name__}, is this the HTTP port?"
        except OSError as error:
            reason = getattr(error, "reason", None) or error
        raise CallError(f"no answer from {self._url}: {reason}")

    def _ask(self, request: urllib.request.Request):
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return _json(response.read(), response.status)
        except urllib.error.HTTPError as error:
            return _json(error.read(), error.code)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # brackets, a port that is no number
        good = False
    if not (good and parts.hostname and re.fullmatch("[!-~]+", url)):
        raise UserError("command-line", f"--url {url}: give an address like {DEFAULT_URL}")
    return parts.hostname


def _json(data: bytes, status: int):
    try:
        return json.loads(data)
    except ValueError:
        raise CallError(f"HTTP {status}, and the answer is not JSON: check --url") from None


def main(argv=None) -> int:
    """Send and print; exit status 1 on any error."""
    args = parse_args(argv)
    return send_all(args, HttpSender(args.url, args.timeout))


if __name__ == "__main__":
    run_main(main)
