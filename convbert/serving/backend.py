"""Calls to the pipeline's gRPC server, for the front, the readiness probe and the RPC client."""

from __future__ import annotations

import grpc

from convbert.serving.messages import INFERENCE_METHOD, Request, Response
from convbert.serving.requests import ErrNo, Fields, RequestError
from convbert.serving.settings import SERVICE_NAME

# gRPC's own pauses between connection attempts grow to two minutes; a restart takes seconds.
_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A connection of its own: not the process-wide pool, nor a proxy from the environment.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
_STATUS_ERRORS = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ErrNo.BUSY, "the service is busy: try again"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (ErrNo.TIMEOUT, "no answer in time"),
    grpc.StatusCode.UNAVAILABLE: (ErrNo.STOPPED, "the prediction process is not running"),
}


def channel_options(max_bytes: int) -> tuple:
    """Return the options of a client channel for messages of up to ``max_bytes``."""
    size = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", max_bytes))
    return _RECONNECT + size


def request_message(fields: Fields):
    """Return the Request message of checked fields."""
    return Request(
        key=fields.keys,
        value=fields.values,
        logid=fields.logid,
        name=SERVICE_NAME,
        method="prediction",
    )


def refused(error: grpc.RpcError) -> RequestError:
    """Translate a failed call into the error a client gets."""
    unknown = (ErrNo.INTERNAL, "the prediction process failed")
    return RequestError(*_STATUS_ERRORS.get(error.code(), unknown))


class Backend:
    """An asynchronous connection to the pipeline; it reconnects by itself."""

    def __init__(self, address: str, max_bytes: int):
        self._channel = grpc.aio.insecure_channel(address, options=channel_options(max_bytes))
        self._call = self._channel.unary_unary(
            INFERENCE_METHOD, Request.SerializeToString, Response.FromString
        )

    async def predict(self, fields: Fields, timeout: float):
        """Return the pipeline's Response.

        Raises:
            RequestError: no answer within ``timeout`` seconds, busy, or not running.
        """
        try:
            return await self._call(request_message(fields), timeout=timeout)
        except grpc.RpcError as error:
            raise refused(error) from None

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()
