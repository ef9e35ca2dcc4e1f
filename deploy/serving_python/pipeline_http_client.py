"""Send texts to the service over HTTP and print its answers.

Example:
    python deploy/serving_python/pipeline_http_client.py --text "a fine film"
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import urllib.request
from collections.abc import Callable
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


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """Returns answers with an error status like all others; their JSON contains the error."""

    def http_response(self, request, response):
        return response

    https_response = http_response


def connect(url: str, timeout: float) -> Callable[[str, int], object]:
    """Return a function that posts a text to one URL and returns the JSON of the answer.

    Raises:
        UserError: not an HTTP address.
    """
    # A proxy from the environment cannot reach this machine's loopback.
    proxies = {} if _host(url) in LOOPBACK_NAMES else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), _EveryStatus)

    def send(text: str, log_id: int) -> object:
        body = json.dumps({"key": ["text"], "value": [text], "logid": log_id}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with opener.open(request, timeout=timeout) as response:
                return json.load(response)
        except ValueError:
            reason = f"HTTP {response.status}, but not JSON"
        except http.client.HTTPException as error:  # another protocol, or an incomplete answer
            reason = type(error).__name__
        except OSError as error:
            reason = getattr(error, "reason", None) or error
        raise CallError(f"no answer from {url}: {reason}; check --url")

    return send


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # wrong brackets, or a port that is not a number
        good = False
    if not (good and parts.hostname and re.fullmatch("[!-~]+", url)):
        raise UserError("command-line", f"--url {url}: give an address like {DEFAULT_URL}")
    return parts.hostname


def main(argv=None) -> int:
    """Send and print; exit status 1 on any error."""
    args = parse_args(argv)
    return send_all(args, connect(args.url, args.timeout))


if __name__ == "__main__":
    run_main(main)
