"""The service around the Paddle Serving 0.9.0 pipeline.

``settings`` reads config.yml, ``requests`` checks what clients send, ``messages`` are the protobuf
messages, ``pipeline`` and ``engine`` run inside the pipeline's process, ``front`` and
``supervisor`` in the one that clients talk to, ``service`` ties both together.
"""

import os

# The protobuf modules in Paddle Serving were generated for protobuf 3 and run on its pure-Python
# implementation only, which has to be chosen before protobuf is imported.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
