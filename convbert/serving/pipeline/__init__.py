"""The Paddle Serving 0.9.0 pipeline, with the changes that a reliable service needs.

``server``  the steps of a request and the gRPC server; call `prepare` before importing it
``runner``  the model of one worker: encodes texts, runs them in batches

Differences from Paddle Serving:

- requests with ``tensors`` are rejected before ``np.load`` can unpickle them;
- answers never contain internal errors;
- the server listens on one address and rejects calls instead of queueing them without limit;
- if a worker dies, the pipeline exits and its supervisor restarts it, so no request hangs;
- after SIGTERM in-flight calls are finished;
- `Runner` replaces the local predictor, which cannot read programs of Paddle 3, does not optimise
  programs, and uses the CPU without a warning if there is no GPU.
"""

import os
import sys
import types

# Stub modules that replace some imports of Paddle Serving.
_STAND_INS = {
    # The brpc client: there is no wheel for Python 3.10 or later, and it is not used here.
    "paddle_serving_client": {"Client": type("Client", (), {})},
    # Opens three log files of up to 10 GB in the working directory.
    "paddle_serving_server.pipeline.logger": {},
    # For timeouts of an Op, which are not used here: there is no wheel.
    "func_timeout": {"FunctionTimedOut": type("FunctionTimedOut", (Exception,), {})},
    # The self-test of `serve check`; it imports pytest.
    "paddle_serving_server.env_check.run": {"check_env": None},
}


def prepare() -> None:
    """Call this before anything imports ``paddle_serving_server`` or protobuf."""
    # Its generated modules work only with protobuf's pure-Python implementation.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    for name, members in _STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        sys.modules.setdefault(name, module)
