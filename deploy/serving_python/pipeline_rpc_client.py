"""Send texts to the service's pipeline over gRPC and print its answers.

Example:
    python deploy/serving_python/pipeline_rpc_client.py --text "a fine film"
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.start import run_main
from convbert.serving import require_packages
from convbert.serving.clients import CallError, run_client
from paddlenlp.utils.errors import UserError

DEFAULT_ADDRESS = "127.0.0.1:9993"


def connect(address: str, timeout: float) -> Callable[[str, int], dict]:
    """Return a function that sends a text to the pipeline and returns the answer as over HTTP."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        example = f"give HOST:PORT, like {DEFAULT_ADDRESS}"
        raise UserError("command-line", f"--address {address}: {example}")
    require_packages("grpc")
    import grpc

    from convbert.serving.protocol import CHANNEL_OPTIONS, answer, text_message, unary_call

    call = unary_call(grpc.insecure_channel(address, options=CHANNEL_OPTIONS))

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
    return run_client(__doc__, argv, "--address", DEFAULT_ADDRESS, connect)


if __name__ == "__main__":
    run_main(main)
