"""Send texts to the service's pipeline over gRPC and print its answers.

Example:
    python deploy/serving_python/pipeline_rpc_client.py --text "a fine film"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.start import run_main
from convbert.serving import require_packages
from convbert.serving.clients import CallError, client_parser, send_all
from paddlenlp.utils.errors import UserError

DEFAULT_ADDRESS = "127.0.0.1:9993"
LARGEST_ANSWER = 2**24


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = client_parser(__doc__)
    parser.add_argument("--address", default=DEFAULT_ADDRESS, help="HOST:PORT (%(default)s)")
    return parser.parse_args(argv)


def connect(address: str, timeout: float) -> Callable[[str, int], dict]:
    """Return a function that sends a text to the pipeline and returns the answer as over HTTP."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(
            "command-line", f"--address {address}: give HOST:PORT, like {DEFAULT_ADDRESS}"
        )
    require_packages("grpc")
    import grpc

    from convbert.serving.protocol import answer
    from convbert.serving.rpc import channel_options, text_message, unary_call

    call = unary_call(grpc.insecure_channel(address, options=channel_options(LARGEST_ANSWER)))

    def send(text: str, log_id: int) -> dict:
        try:
            response = call(text_message(text, log_id), timeout=timeout)
        except grpc.RpcError as error:
            reason = f"{error.code().name}, {error.details()}"
            raise CallError(f"no answer from {address}: {reason}") from None
        return answer(response.err_no, response.err_msg, response.key, response.value)

    return send


def main(argv=None) -> int:
    """Send and print; exit status 1 on any error."""
    args = parse_args(argv)
    return send_all(args, connect(args.address, args.timeout))


if __name__ == "__main__":
    run_main(main)
