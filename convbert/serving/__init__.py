"""The service: a sentence over HTTP or gRPC, a label back.

    client -HTTP-> http -gRPC on loopback-> pipeline <-gRPC- client
                   process starts, watches and stops the pipeline

``http``          the HTTP front end: reads a body, forwards it, answers, reports health and metrics
``pipeline``      the Paddle Serving pipeline: checks a request, batches texts, runs the model
``process``       one service on one machine: supervisor, start and stop, run folder
``config``        config.yml;  ``health``: the state that ``process`` writes and ``http`` reads
``protocol``      what a request and an answer are;  ``rpc``: the same as gRPC messages
``served_model``  an exported model in the folders that Paddle Serving reads
``clients``       what the HTTP and the gRPC client share

A request is checked where it arrives and where it is computed. `http.body` accepts JSON of the
right form; the servicer in `pipeline.steps`, which every request passes, checks the texts against
the limits; the tokenizer and the `Runner` refuse what the model cannot compute.

``process`` imports ``http``; both, and ``pipeline``, import the modules beside them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from paddlenlp.utils.errors import UserError


@contextlib.contextmanager
def serving_packages() -> Iterator[None]:
    """Put this around imports of what ``shell/serving.sh setup`` installs.

    Raises:
        UserError: one of the packages is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("convbert", "paddlenlp"):  # a mistake of ours
            raise
        setup = "run shell/serving.sh setup (CPython 3.10 to 3.12)"
        raise UserError(
            "package-missing", f"serving needs the package {package}: {setup}"
        ) from None
