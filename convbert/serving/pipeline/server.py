"""Running the pipeline. Call `paddle_serving.prepare` before importing this module."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from concurrent import futures
from multiprocessing import connection

import grpc
from paddle_serving_server.pipeline import PipelineServer
from paddle_serving_server.pipeline.pipeline_server import PipelineServicer
from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import (
    add_PipelineServiceServicer_to_server as add_servicer,
)

from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.pipeline.steps import (
    EXIT_WORKER_DIED,
    CheckedRequestOp,
    CheckingServicer,
    ConvBertOp,
    QuietResponseOp,
)
from convbert.serving.protocol import SERVICE_NAME
from convbert.serving.rpc import ENVELOPE_BYTES
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import LINE_FORMAT, BriefFormatter, get_logger

# In-flight calls get this many seconds to finish after SIGTERM; the supervisor may wait less.
STOP_GRACE_S = 3.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(settings: Settings) -> None:
    """Build the pipeline and serve until SIGTERM or SIGINT.

    Raises:
        UserError: the served model cannot be opened, or the port is in use.
    """
    set_up_logging()
    op = ConvBertOp(settings, name=SERVICE_NAME, input_ops=[CheckedRequestOp()])
    server = LoopbackServer(settings)
    server.set_response_op(QuietResponseOp(input_ops=[op]))
    server.prepare()
    server.run_server()


class LoopbackServer(PipelineServer):
    """The gRPC server, on one address, without Paddle Serving's HTTP gateway."""

    def __init__(self, settings: Settings):
        super().__init__(SERVICE_NAME)
        self._settings = settings
        self._stop = threading.Event()

    def prepare(self) -> None:
        """Give Paddle Serving its part of the settings, without a model to open."""
        settings = self._settings
        # For the other keys of "dag" only Paddle Serving's defaults do not deadlock.
        keys = ("rpc_port", "worker_num", "dag")
        config = {key: settings.config[key] for key in keys}
        config["op"] = {SERVICE_NAME: {**settings.op, "local_service_conf": {}}}
        try:
            self.prepare_server(yml_dict=config)
        except SystemExit as error:  # how it reports that the port is in use
            raise UserError(
                "port", f"the pipeline cannot start: {error}; choose another --rpc_port"
            ) from None

    def run_server(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish in-flight calls."""
        os.register_at_fork(after_in_child=_become_worker)
        servicer = CheckingServicer(self._settings, self._response_op, self._conf)
        # After the workers have started: worker threads import Paddle, which installs its own
        # handlers.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._watch(servicer)
        server = self._grpc_server()
        add_servicer(servicer, server)
        try:
            server.add_insecure_port(str(self._settings.rpc))
        except RuntimeError as error:
            raise UserError("port", f"cannot listen on {self._settings.rpc}: {error}") from None
        server.start()
        while not self._stop.wait(1.0):  # a wait without a timeout would delay signals
            pass
        server.stop(STOP_GRACE_S).wait()
        os._exit(0)  # a normal exit would wait for the worker threads, which never exit

    def _grpc_server(self):
        workers = self._settings.config["worker_num"]
        size = self._settings.service["max_body_bytes"] + ENVELOPE_BYTES
        return grpc.server(
            futures.ThreadPoolExecutor(max_workers=workers),
            options=[
                ("grpc.so_reuseport", 0),  # otherwise two services could share the port unnoticed
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
            ],
            # A short queue beyond the workers, for calls that arrive while earlier ones are being
            # closed.
            maximum_concurrent_rpcs=2 * workers,
        )

    def _watch(self, servicer: PipelineServicer) -> None:
        """Exit as soon as one of the worker processes exits: requests would hang otherwise."""
        processes = [p for op in self._used_op for p in getattr(op, "worker_processes", [])]
        if not processes:
            return
        processes.append(servicer._dag_executor._dag._manager._process)

        def watch() -> None:
            connection.wait([process.sentinel for process in processes])
            if self._stop.is_set():
                return
            time.sleep(0.05)  # until the exit status is available
            codes = [process.exitcode for process in processes if process.exitcode is not None]
            get_logger().error("a worker process exited with status %s: ending the pipeline", codes)
            os._exit(EXIT_USER_ERROR if EXIT_USER_ERROR in codes else EXIT_WORKER_DIED)

        threading.Thread(target=watch, daemon=True).start()


def set_up_logging() -> None:
    """Send Paddle Serving's warnings and errors to standard error, in our line format."""
    logging.getLogger("paddle_serving_server").setLevel(logging.WARNING)
    # It warns about each setting that has its default value.
    logging.getLogger(PipelineServer.__module__).setLevel(logging.ERROR)
    # Log lines about requests are shortened, because their content comes from clients.
    handler = logging.StreamHandler()
    handler.setFormatter(BriefFormatter(LINE_FORMAT))
    logging.getLogger().addHandler(handler)


def exit_with_parent(parent: int) -> None:
    """Let Linux kill this process when its parent exits for any reason."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it exited before the call
            os.kill(os.getpid(), signal.SIGKILL)


def _become_worker() -> None:
    """In a forked worker: default signal handlers, and exit with the pipeline's main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    exit_with_parent(os.getppid())
