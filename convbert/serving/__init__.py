"""The service around the Paddle Serving 0.9.0 pipeline.

``settings`` reads config.yml, ``requests`` checks what clients send, ``messages`` are the protobuf
messages, ``pipeline`` and ``engine`` run inside the pipeline's process, ``front`` and
``supervisor`` in the one that clients talk to, ``service`` ties both together.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from convbert.command.start import EXIT_USER_ERROR

# To be chosen before protobuf and gRPC are imported; what the user exported wins.
for _name, _value in (
    # The generated modules in Paddle Serving run on protobuf's pure-Python implementation only.
    ("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python"),
    # No forked process uses gRPC here, and its preparations for that print warnings.
    ("GRPC_ENABLE_FORK_SUPPORT", "0"),
    ("GRPC_VERBOSITY", "ERROR"),
):
    os.environ.setdefault(_name, _value)


@contextlib.contextmanager
def installed_packages() -> Iterator[None]:
    """Around imports of what `serving.sh setup` installs: end the program in one line without it.

    For entry scripts only, whose imports come before `run_main`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("convbert", "paddlenlp"):  # a mistake of ours
            raise
        program = os.path.basename(sys.argv[0])
        mend = "run shell/serving.sh setup (CPython 3.8 to 3.12)"
        print(f"{program}: error: serving needs the package {package}: {mend}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
