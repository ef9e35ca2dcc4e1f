"""Paddle Serving 0.9.0, made importable on today's Python: take its names from here.

Importing the package does three things no service wants, and needs a module that no Python after
3.9 has. Each is met by an empty module in its place, put there before the first import.
"""

from __future__ import annotations

import sys
import types

_STAND_INS = {
    # The brpc client: no wheel beyond CPython 3.9, and unused with the local predictor.
    "paddle_serving_client": {"Client": type("Client", (), {})},
    # Opens three log files of up to 10 GB in the working directory.
    "paddle_serving_server.pipeline.logger": {},
    # The self-test of `serve check`; it imports pytest.
    "paddle_serving_server.env_check.run": {"check_env": None},
}


def _prepare() -> None:
    for name, members in _STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module


_prepare()

# ruff: noqa: E402
from paddle_serving_server import util
from paddle_serving_server.pipeline import Op, PipelineServer, RequestOp, ResponseOp
from paddle_serving_server.pipeline.channel import ChannelTimeoutError
from paddle_serving_server.pipeline.error_catch import CustomExceptionCode
from paddle_serving_server.pipeline.pipeline_server import PipelineServicer
from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import (
    add_PipelineServiceServicer_to_server as add_servicer,
)
from paddle_serving_server.web_service import WebService


def write_process_info_to(folder: str) -> None:
    """Choose where ProcessInfo.json goes; else SERVING_HOME or the working directory, at import."""
    util.CONF_HOME = folder


__all__ = [
    "ChannelTimeoutError",
    "CustomExceptionCode",
    "Op",
    "PipelineServer",
    "PipelineServicer",
    "RequestOp",
    "ResponseOp",
    "WebService",
    "add_servicer",
    "write_process_info_to",
]
