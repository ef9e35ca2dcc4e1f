"""The service: it answers sentences with labels, over HTTP or gRPC.

    client -HTTP-> http -gRPC on loopback-> pipeline <-gRPC- client
                   process starts, supervises and stops the pipeline

``http``          the HTTP front end: forwards requests, reports health and metrics
``pipeline``      the Paddle Serving pipeline: checks a request, batches texts, runs the model
``process``       one service on one machine: supervisor, start and stop, run folder
``config``        config.yml;  ``health``: the state that ``process`` writes and ``http`` reads
``protocol``      the format of requests and answers;  ``rpc``: the same as gRPC messages
``served_model``  an exported model in the folders that Paddle Serving reads
``clients``       shared by the HTTP and the gRPC client

A request is checked in three places. `http.body` checks the form of its JSON; the servicer in
`pipeline.steps`, which every request passes, checks the texts against the limits; the tokenizer and
the `Runner` reject texts that the model cannot process.

``process`` imports ``http``; these two and ``pipeline`` import the other modules listed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from paddlenlp.utils.errors import UserError


@contextlib.contextmanager
def serving_packages() -> Iterator[None]:
    """Wrap imports of packages that ``shell/serving.sh setup`` installs in this.

    Raises:
        UserError: one of the packages is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("convbert", "paddlenlp"):  # a bug of ours
            raise
        setup = "run shell/serving.sh setup (CPython 3.10 to 3.12)"
        raise UserError(
            "package-missing", f"serving needs the package {package}: {setup}"
        ) from None
