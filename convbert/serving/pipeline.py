"""The Paddle Serving 0.9.0 pipeline, mended where a stranger or a dead worker could break it.

What is mended, each as a subclass: requests with ``tensors`` never reach ``np.load`` (they are
pickles), answers never show internal errors, the gRPC server listens on loopback and refuses a
growing queue, a dead worker ends the whole pipeline (its supervisor starts it anew), SIGTERM stops
it in order. The HTTP gateway, a Go library without address, limits or health, is not started: see
``front``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from concurrent import futures
from multiprocessing import connection
from typing import Any

import grpc

from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.engine import Engine
from convbert.serving.paddle_serving import (
    ChannelTimeoutError,
    CustomExceptionCode,
    Op,
    PipelineServer,
    PipelineServicer,
    RequestOp,
    ResponseOp,
    WebService,
    add_servicer,
)
from convbert.serving.requests import (
    TENSORS_REFUSED,
    ErrNo,
    RequestError,
    bad_request,
    texts_of,
)
from convbert.serving.runtime import die_with_parent, host_port
from convbert.serving.settings import SERVICE_NAME, Settings
from convbert.text.processing import TextProcessor
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

# Most seconds that calls in flight get to finish after SIGTERM; the supervisor may wait less.
STOP_GRACE_S = 3.5
EXIT_WORKER_DIED = 70
_INTERNAL_ERROR = "internal error, see the server's log"


class DiscreetServicer(PipelineServicer):
    """Answers calls; the name of a service that is not this one does not reach the log.

    Its line breaks would be lines of the log.
    """

    def inference(self, request, context):
        """Return the Response message of a Request message."""
        if request.name not in ("", self._name):
            request.name = "another"
        return super().inference(request, context)


class GuardedRequestOp(RequestOp):
    """Unpacks a request after checking it; nothing in it is loaded or executed."""

    def __init__(self, settings: Settings):
        super().__init__()
        self._limits = settings.limits
        self._seconds_to_answer = settings.service["request_timeout_s"]

    def unpack_request_package(self, request):
        """Return ``{"texts", "deadline"}``, the log id, and an error number and text or None."""
        try:
            if len(request.tensors):
                raise bad_request(TENSORS_REFUSED)
            texts = texts_of(request.key, request.value, self._limits)
        except RequestError as error:
            return {}, request.logid, int(error.err_no), str(error)
        # The monotonic clock is the same in every process of the machine.
        deadline = time.monotonic() + self._seconds_to_answer
        return {"texts": texts, "deadline": deadline}, request.logid, None, ""


class DiscreetResponseOp(ResponseOp):
    """Packs an answer; a message that was not written for the client stays in the log."""

    def pack_response_package(self, channeldata):
        """Return the Response message."""
        response = super().pack_response_package(channeldata)
        written_here = channeldata.error_code == CustomExceptionCode.PRODUCT_ERROR.value
        if response.err_no and not written_here:
            get_logger().error("log id %s: %s", channeldata.log_id, response.err_msg)
            response.err_no, response.err_msg = int(ErrNo.INTERNAL), _INTERNAL_ERROR
        return response


class BatchingOp(Op):
    """An Op that runs the requests waiting together as one padded batch.

    Paddle Serving's own batching waits for company even when there is none, and stacks arrays of
    one length only. Here a lone request runs at once; whoever arrives meanwhile shares the next
    run, padded to its longest text. The model hides padding, so answers do not depend on company.
    """

    def __init__(self, settings: Settings, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = settings
        self.engine = Engine(settings)
        self.worker_processes: list[Any] = []
        self._initialized = False

    @property
    def processor(self) -> TextProcessor:
        """Encodes texts and decodes logits, with the tokenizer of the served model."""
        return self.engine.processor

    def start_with_process(self):
        """Start one process per worker and keep them for the watch."""
        self.worker_processes = super().start_with_process()
        return self.worker_processes

    def start_with_thread(self):
        """Start one thread per worker."""
        self.engine.install_client()
        return super().start_with_thread()

    def init_op(self):
        """Note that Paddle Serving's own start of this worker came to its end."""
        self._initialized = True

    def _initialize(self, *args):
        profiler = super()._initialize(*args)
        if not self._initialized:  # it logs errors of its start and goes on
            raise RuntimeError("the worker could not be initialized, see the lines above")
        return profiler

    def _run(self, worker: int, *args):
        try:
            self.engine.install_client()
            self.engine.open(worker)
            super()._run(worker, *args)
        except UserError as error:  # the served model cannot be opened in this process
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(EXIT_USER_ERROR)
        except BaseException:  # a worker thread that just ended would leave requests hanging
            get_logger().exception("worker %s failed: ending the pipeline", worker)
            os._exit(EXIT_WORKER_DIED)

    def _auto_batching_generator(self, input_channel, op_name, batch_size, timeout, op_info_prefix):
        while True:
            batch = [input_channel.front(op_name)]
            while len(batch) < batch_size:
                try:
                    # None and 0 would wait for ever; this asks what is there already.
                    batch.append(input_channel.front(op_name, timeout or 1e-6))
                except ChannelTimeoutError:
                    break
            yield batch

    def expired(self, request: dict[str, Any]) -> bool:
        """Whether the client has given up; computing the answer would delay the others."""
        return time.monotonic() > request["deadline"]

    def _run_process(self, preped_data_dict, *args):
        self.engine.pad_together(list(preped_data_dict.values()))
        return super()._run_process(preped_data_dict, *args)


class LoopbackServer(PipelineServer):
    """The pipeline's gRPC server, on one address, without the Go gateway."""

    def __init__(self, name: str, settings: Settings):
        super().__init__(name)
        self._settings = settings
        self._stop = threading.Event()

    def run_server(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish the calls in flight."""
        self._stop_on_signals()
        os.register_at_fork(after_in_child=_become_worker)
        servicer = DiscreetServicer(self._name, self._response_op, self._conf)
        self._stop_on_signals()  # thread workers imported Paddle, which took the signals over
        self._watch(servicer)
        server = self._grpc_server()
        add_servicer(servicer, server)
        address = host_port(self._settings.rpc_host or "0.0.0.0", self._settings.rpc_port)
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise UserError("port", f"cannot listen on {address}: the port is in use") from None
        server.start()
        while not self._stop.wait(1.0):  # a bare wait() would hold signals back
            pass
        server.stop(STOP_GRACE_S).wait()
        os._exit(0)  # Python's own way out would wait for worker threads, which never end

    def _stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())

    def _grpc_server(self):
        workers = self._settings.config["worker_num"]
        size = self._settings.service["max_body_bytes"]
        return grpc.server(
            futures.ThreadPoolExecutor(max_workers=workers),
            options=[
                ("grpc.so_reuseport", 0),  # else two services could share the port unnoticed
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
            ],
            # Beyond the workers a short queue for calls whose predecessor is just being closed.
            maximum_concurrent_rpcs=2 * workers,
        )

    def _watch(self, servicer: PipelineServicer) -> None:
        """End the pipeline as soon as one of its processes does: requests would hang for ever."""
        processes = [p for op in self._used_op for p in getattr(op, "worker_processes", [])]
        if not processes:
            return
        processes.append(servicer._dag_executor._dag._manager._process)

        def watch() -> None:
            connection.wait([process.sentinel for process in processes])
            if self._stop.is_set():
                return
            time.sleep(0.05)  # for the exit code
            codes = [process.exitcode for process in processes if process.exitcode is not None]
            get_logger().error("a worker process ended with %s: ending the pipeline", codes)
            os._exit(EXIT_USER_ERROR if EXIT_USER_ERROR in codes else EXIT_WORKER_DIED)

        threading.Thread(target=watch, daemon=True).start()


class MendedWebService(WebService):
    """A WebService over the guarded Ops and the loopback server.

    Subclasses say in ``get_pipeline_response`` which Op answers.
    """

    def __init__(self, settings: Settings):
        super().__init__(SERVICE_NAME)
        self.settings = settings
        self._server = LoopbackServer(SERVICE_NAME, settings)

    def prepare_pipeline_config(self, yml_file=None, yml_dict=None) -> None:
        """Build the pipeline from the settings.

        Raises:
            UserError: the served model cannot be opened, or the port is in use.
        """
        set_up_logging()
        last_op = self.get_pipeline_response(GuardedRequestOp(self.settings))
        self._server.set_response_op(DiscreetResponseOp(input_ops=[last_op]))
        try:
            self._server.prepare_server(yml_dict=self._pipeline_config())
        except SystemExit as error:  # how it says that the port is in use
            raise UserError(
                "port", f"the pipeline cannot start: {error}; choose a --rpc_port"
            ) from None

    def _pipeline_config(self) -> dict[str, Any]:
        """Return what Paddle Serving itself reads: all but our section and the HTTP port."""
        config = {
            key: value
            for key, value in self.settings.config.items()
            if key not in ("service", "http_port")
        }
        local = {
            **self.settings.op["local_service_conf"],
            "model_config": self.settings.model_dir,
            # It cannot read an empty list when a GPU is asked for.
            "devices": ",".join(map(str, self.settings.gpus)),
        }
        op = {**self.settings.op, "local_service_conf": local}
        return {**config, "op": {SERVICE_NAME: op}}


def set_up_logging() -> None:
    """Send Paddle Serving's warnings and errors to standard error, in the house format."""
    logging.getLogger("paddle_serving_server").setLevel(logging.WARNING)
    # It warns of each setting that is left at its default.
    logging.getLogger(PipelineServer.__module__).setLevel(logging.ERROR)
    for handler in get_logger().handlers:
        logging.getLogger().addHandler(handler)


def _become_worker() -> None:
    """In a forked worker: default signals, and no life after the pipeline's main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent(os.getppid())
