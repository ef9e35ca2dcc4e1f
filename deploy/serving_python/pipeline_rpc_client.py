"""Send texts to the service's pipeline over gRPC and print its answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc

from convbert.cli import run_main
from convbert.serving.backend import channel_options, request_message
from convbert.serving.clients import CallError, client_parser, send_all
from convbert.serving.messages import INFERENCE_METHOD, Request, Response
from convbert.serving.requests import Fields, answer

DEFAULT_ADDRESS = "127.0.0.1:9993"
LARGEST_ANSWER = 2**24


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = client_parser(__doc__)
    parser.add_argument("--address", default=DEFAULT_ADDRESS, help="HOST:PORT (%(default)s)")
    return parser.parse_args(argv)


class RpcSender:
    """Calls the pipeline at one address."""

    def __init__(self, address: str, timeout: float):
        self._address, self._timeout = address, timeout
        channel = grpc.insecure_channel(address, options=channel_options(LARGEST_ANSWER))
        self._call = channel.unary_unary(
            INFERENCE_METHOD, Request.SerializeToString, Response.FromString
        )

    def __call__(self, fields: Fields) -> dict:
        """Return the answer in the JSON form of HTTP."""
        try:
            response = self._call(request_message(fields), timeout=self._timeout)
        except grpc.RpcError as error:
            raise CallError(
                f"no answer from {self._address}: {error.code().name}, {error.details()}"
            ) from None
        return answer(response.err_no, response.err_msg, response.key, response.value)


def main(argv=None) -> int:
    """Send and print; exit status 1 on any error."""
    args = parse_args(argv)
    return send_all(args, RpcSender(args.address, args.timeout))


if __name__ == "__main__":
    run_main(main)
