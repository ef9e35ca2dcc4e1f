"""The service around the Paddle Serving 0.9.0 pipeline.

``settings`` reads config.yml, ``requests`` checks what clients send, ``messages`` are the protobuf
messages, ``pipeline`` and ``engine`` run inside the pipeline's process, ``front`` and
``supervisor`` in the one that clients talk to, ``service`` ties both together.
"""

import os

# To be chosen before protobuf and gRPC are imported; what the user exported wins.
for _name, _value in (
    # The generated modules in Paddle Serving run on protobuf's pure-Python implementation only.
    ("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python"),
    # No forked process uses gRPC here, and its preparations for that print warnings.
    ("GRPC_ENABLE_FORK_SUPPORT", "0"),
    ("GRPC_VERBOSITY", "ERROR"),
):
    os.environ.setdefault(_name, _value)
