"""The service: it answers sentences with labels, over HTTP or gRPC.

    client -HTTP-> http -gRPC on loopback-> pipeline <-gRPC- client
                   process starts, supervises and stops the pipeline

``http``          the HTTP front end: forwards requests, reports health and metrics
``pipeline``      the Paddle Serving pipeline: checks a request, batches texts, runs the model
``process``       one service on one machine: supervisor, start and stop, run folder
``config``        config.yml
``protocol``      the format of requests and answers
``served_model``  an exported model in the folders that Paddle Serving reads
``clients``       shared by the HTTP and the gRPC client

A request is checked at two borders. It comes in as a gRPC message, which `http.body` makes of JSON;
the servicer in `pipeline.server`, which every request passes, checks it against the limits. The
tokenizer and the `Runner` reject texts that the model cannot process.

``process`` imports ``http``; these two and ``pipeline`` import the other modules listed here.
"""

from importlib.util import find_spec

from paddlenlp.utils.errors import UserError

PACKAGES = ("grpc", "yaml", "starlette", "uvicorn", "prometheus_client", "paddle_serving_server")


def require_packages(*packages: str) -> None:
    """Check for packages that ``shell/serving.sh setup`` installs; without names, for all.

    Raises:
        UserError: one of them is missing.
    """
    for package in packages or PACKAGES:
        if find_spec(package) is None:
            setup = "run bash shell/serving.sh setup (CPython 3.10 to 3.12)"
            raise UserError("package-missing", f"serving needs the package {package}: {setup}")
