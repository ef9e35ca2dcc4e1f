"""Making Paddle Serving 0.9.0 importable on current versions of Python."""

from __future__ import annotations

import os
import sys
import types

# Empty modules that take the place of its own.
_STAND_INS = {
    # The brpc client: it has no wheel for Python 3.10 or later, and is not used here.
    "paddle_serving_client": {"Client": type("Client", (), {})},
    # Opens three log files of up to 10 GB in the working directory.
    "paddle_serving_server.pipeline.logger": {},
    # Time-outs of an Op in a thread of its own, which are not used: there is no wheel of it.
    "func_timeout": {"FunctionTimedOut": type("FunctionTimedOut", (Exception,), {})},
    # The self-test of `serve check`; it imports pytest.
    "paddle_serving_server.env_check.run": {"check_env": None},
}


def prepare() -> None:
    """Call this before anything imports ``paddle_serving_server`` or protobuf."""
    # Its generated modules run on protobuf's pure-Python implementation only.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    for name, members in _STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        sys.modules.setdefault(name, module)
