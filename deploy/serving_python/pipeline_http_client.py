"""Send texts to the service over HTTP and print its answers.

Example:
    python deploy/serving_python/pipeline_http_client.py --text "a fine film"
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.start import run_main
from convbert.serving.clients import CallError, run_client
from paddlenlp.utils.errors import UserError

DEFAULT_URL = "http://127.0.0.1:18080/convbert/prediction"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def connect(url: str, timeout: float) -> Callable[[str, int], object]:
    """Return a function that posts a text to one URL and returns the JSON of the answer.

    Raises:
        UserError: not an HTTP address.
    """
    host = _host(url)

    def send(text: str, log_id: int) -> object:
        body = {"key": ["text"], "value": [text], "logid": log_id}
        with requests.Session() as session:
            # A proxy from the environment cannot reach this machine's loopback.
            session.trust_env = host not in LOOPBACK_NAMES
            try:
                return session.post(url, json=body, timeout=timeout).json()
            except requests.RequestException as error:
                reason = type(error).__name__
        advice = "check --url, and bash shell/serving.sh status"
        raise CallError(f"no answer from {url}: {reason}; {advice}")

    return send


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.hostname and parts.port != 0 and re.fullmatch("https?://[!-~]+", url)
    except ValueError:  # wrong brackets, or a port that is not a number
        good = False
    if not good:
        raise UserError("command-line", f"--url {url}: give an address like {DEFAULT_URL}")
    return parts.hostname


def main(argv=None) -> int:
    """Send and print; exit status 1 on any error."""
    return run_client(__doc__, argv, "--url", DEFAULT_URL, connect)


if __name__ == "__main__":
    run_main(main)
