"""Send texts to the service over HTTP and print its answers."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.cli import run_main
from convbert.serving.clients import CallError, client_parser, send_all
from convbert.serving.requests import Fields
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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--url {url}: give an address like {DEFAULT_URL}")
        self._url, self._timeout = url, timeout
        # A proxy of the environment cannot reach this machine's own loopback.
        proxies = {} if parts.hostname in LOOPBACK_NAMES else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def __call__(self, fields: Fields) -> dict:
        """Return the answer's JSON, also that of an error."""
        body = json.dumps({"key": fields.keys, "value": fields.values, "logid": fields.logid})
        request = urllib.request.Request(
            self._url, body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return _json(response.read(), response.status)
        except urllib.error.HTTPError as error:
            return _json(error.read(), error.code)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise CallError(f"no answer from {self._url}: {reason}") from None


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
