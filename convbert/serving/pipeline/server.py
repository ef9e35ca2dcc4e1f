"""The steps of a request, in order, and the gRPC server that they run behind.

Call `pipeline.prepare` before importing this module.
"""

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from concurrent import futures
from multiprocessing import connection
from typing import Any, NoReturn

import grpc
import numpy as np
from paddle_serving_server.pipeline import Op, PipelineServer, RequestOp, ResponseOp
from paddle_serving_server.pipeline.channel import ChannelTimeoutError
from paddle_serving_server.pipeline.error_catch import CustomExceptionCode
from paddle_serving_server.pipeline.pipeline_server import PipelineServicer
from paddle_serving_server.pipeline.proto.pipeline_service_pb2 import Response
from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import (
    add_PipelineServiceServicer_to_server as add_servicer,
)

from convbert.command.machine import return_freed_memory, set_cpu_environment
from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.pipeline.runner import Runner
from convbert.serving.protocol import (
    SERVICE_NAME,
    TENSORS_REFUSED,
    ErrNo,
    RequestError,
    pack_predictions,
    texts_of,
)
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import LINE_FORMAT, BriefFormatter, get_logger

EXIT_WORKER_DIED = 70
# In-flight calls get this many seconds to finish after SIGTERM. The supervisor kills the pipeline a
# bit earlier (STOP_S), so that the front end can still answer their requests with an error.
STOP_GRACE_S = 4.3
# An upper bound for the fields of a message other than keys and values.
_ENVELOPE_BYTES = 1024
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class CheckingServicer(PipelineServicer):
    """Answers calls; invalid requests are rejected before they enter the pipeline."""

    def __init__(self, settings: Settings, response_op: ResponseOp, config: dict[str, Any]):
        super().__init__(SERVICE_NAME, response_op, config)
        self._limits = settings["max_texts"], settings["max_text_chars"]
        self._timeout = settings["request_timeout_s"]

    def inference(self, request, context):
        """Return the Response message of a Request message."""
        try:
            if request.name not in ("", SERVICE_NAME):
                raise RequestError(f"no such service: this is {SERVICE_NAME}", ErrNo.NO_SERVICE)
            if len(request.tensors):
                raise RequestError(TENSORS_REFUSED)
            texts = texts_of(request.key, request.value, *self._limits)
        except RequestError as error:
            return Response(err_no=int(error.err_no), err_msg=str(error))
        # The monotonic clock is the same in every process of the machine.
        deadline = time.monotonic() + self._timeout
        return self._dag_executor.call(({"texts": texts, "deadline": deadline}, request.logid))


class CheckedRequestOp(RequestOp):
    """The first step: receives the values that `CheckingServicer` checked, not the message."""

    def unpack_request_package(self, request):
        """Return ``{"texts", "deadline"}``, the log id, and no error."""
        return *request, None, ""


class ConvBertOp(Op):
    """Labels texts; waiting requests are run together.

    Paddle Serving's own batching waits to fill a batch and can stack only arrays of equal length.
    Here a single request runs immediately; requests that arrive during a run share the next one, in
    batches of similar length. The model masks padding, so answers do not depend on the rest of a
    batch.

    The methods override those of Paddle Serving's Op (operator.py): ``_run`` is a worker; it takes
    batches from ``_auto_batching_generator`` and calls ``preprocess``, ``_run_process`` and
    ``postprocess``. Their results include whether to skip the rest, an error number and a message.
    """

    def __init__(self, settings: Settings, **kwargs: Any):
        super().__init__(**kwargs)
        self._settings = settings
        self._own = threading.local()  # of each worker, which is a thread or a process

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        """Return the encoded texts of a request: features with their own lengths."""
        (request,) = input_dicts.values()
        # Computing an answer that the client no longer waits for would delay other requests.
        if time.monotonic() > request["deadline"]:
            return {}, False, int(ErrNo.TIMEOUT), "no answer in time"
        try:
            return self._own.runner.encode(request["texts"]), False, None, ""
        except UserError as error:
            return {}, False, int(ErrNo.BAD_REQUEST), str(error)

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        """Return label ids, probabilities and label names of logits [B, C], as text."""
        if isinstance(fetch_data, Exception):
            raise fetch_data  # Paddle Serving logs it, and answers with an error
        try:
            predictions = self._own.runner.processor.decode(fetch_data)
        except UserError as error:
            get_logger().error("request %s: %s", log_id, error)
            return {}, int(ErrNo.INTERNAL), "the model's answer is not a finite number"
        return pack_predictions(predictions), None, ""

    def _run(self, worker: int, *args):
        try:
            prepare_process(self._settings)
            self._own.runner = Runner(self._settings, worker)
            super()._run(worker, *args)
        except UserError as error:  # the served model cannot be opened in this process
            # The supervisor shows this line. In a single write, because other threads print too.
            os.write(sys.stderr.fileno(), f"error: {error} [{error.code}]\n".encode())
            os._exit(EXIT_USER_ERROR)
        except BaseException:  # requests would hang if only this thread exited
            get_logger().exception("worker %s failed: ending the pipeline", worker)
            os._exit(EXIT_WORKER_DIED)

    def _auto_batching_generator(self, input_channel, op_name, batch_size, timeout, op_info_prefix):
        while True:
            batch = [input_channel.front(op_name)]
            while len(batch) < batch_size:
                try:
                    # None and 0 would wait without a limit; this takes only requests that already
                    # wait.
                    batch.append(input_channel.front(op_name, timeout or 1e-6))
                except ChannelTimeoutError:
                    break
            yield batch

    def _run_process(self, preped_data_dict, op_info_prefix, skip_process_dict, logid_dict):
        """Run the texts of all requests together; return logits [B, C] by request, and no errors.

        If the model fails, the exception is returned instead of the logits of each request.
        """
        features = [feature for texts in preped_data_dict.values() for feature in texts]
        ends = np.cumsum([len(texts) for texts in preped_data_dict.values()])
        try:
            logits = np.split(self._own.runner.run(features), ends[:-1])
        except Exception as error:
            return dict.fromkeys(preped_data_dict, error), {}
        return dict(zip(preped_data_dict, logits)), {}


class QuietResponseOp(ResponseOp):
    """The last step: internal errors are only logged and not sent to the client."""

    def pack_response_package(self, channeldata):
        """Return the Response message."""
        response = super().pack_response_package(channeldata)
        # An error that preprocess or postprocess returned.
        written_here = channeldata.error_code == CustomExceptionCode.PRODUCT_ERROR.value
        if response.err_no and not written_here:
            response.err_no = int(ErrNo.INTERNAL)
            response.err_msg = "internal error, see the server's log"
        return response


def prepare_process(settings: Settings) -> None:
    """Prepare a process, or the main thread for its threads, to run the model."""
    return_freed_memory()
    options = settings.engine_options()
    if options.uses_paddle:
        set_cpu_environment(options.cpu_threads)


def serve(settings: Settings) -> NoReturn:
    """Build the pipeline and serve until SIGTERM or SIGINT; then finish in-flight calls."""
    set_up_logging()
    if settings["is_thread_op"]:
        prepare_process(settings)  # it installs signal handlers, which only the main thread can do
    os.register_at_fork(after_in_child=_become_worker)
    servicer = _start_workers(settings)
    # After the workers have started: worker threads import Paddle, which installs its own handlers.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not settings["is_thread_op"]:
        threading.Thread(target=_exit_with_a_worker, args=(servicer, stop), daemon=True).start()
    server = _grpc_server(settings, servicer)
    server.start()
    while not stop.wait(1.0):  # a wait without a timeout would delay signals
        pass
    server.stop(STOP_GRACE_S).wait()
    os._exit(0)  # a normal exit would wait for the worker threads, which never exit


def _start_workers(settings: Settings) -> CheckingServicer:
    op = ConvBertOp(settings, name=SERVICE_NAME, input_ops=[CheckedRequestOp()])
    response_op = QuietResponseOp(input_ops=[op])
    # The other keys of "dag" keep Paddle Serving's defaults: other values can deadlock.
    # local_service_conf is empty, because `Runner` opens the model.
    dag_keys = ("is_thread_op", "use_profile")
    op_keys = ("concurrency", "batch_size", "auto_batching_timeout")
    op_config = {"local_service_conf": {}, **{key: settings[key] for key in op_keys}}
    config = {
        "rpc_port": settings.rpc.port,
        "worker_num": settings["worker_num"],
        "dag": {key: settings[key] for key in dag_keys},
        "op": {SERVICE_NAME: op_config},
    }
    paddle_serving = PipelineServer(SERVICE_NAME)
    paddle_serving.set_response_op(response_op)
    paddle_serving.prepare_server(yml_dict=config)  # adds the defaults to config
    return CheckingServicer(settings, response_op, config)


def _grpc_server(settings: Settings, servicer: CheckingServicer):
    """Return the server on its one address, without Paddle Serving's HTTP gateway."""
    workers = settings["worker_num"]
    size = settings["max_body_bytes"] + _ENVELOPE_BYTES
    server = grpc.server(
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
    add_servicer(servicer, server)
    try:
        server.add_insecure_port(str(settings.rpc))
    except RuntimeError:  # another process has taken the port since it was checked
        message = f"cannot listen on {settings.rpc}: choose another port with --rpc_port"
        raise UserError("port", message) from None
    return server


def _exit_with_a_worker(servicer: CheckingServicer, stop: threading.Event) -> None:
    """Exit as soon as one of the worker processes exits: requests would hang otherwise."""
    dag = servicer._dag_executor._dag
    processes = [dag._manager._process, *dag._threads_or_proces]
    connection.wait([process.sentinel for process in processes])
    if stop.is_set():
        return
    time.sleep(0.05)  # until the exit status is available
    codes = [process.exitcode for process in processes if process.exitcode is not None]
    get_logger().error("a worker process exited with status %s: ending the pipeline", codes)
    os._exit(EXIT_USER_ERROR if EXIT_USER_ERROR in codes else EXIT_WORKER_DIED)


def set_up_logging() -> None:
    """Send Paddle Serving's errors to standard error, in our line format."""
    logging.getLogger("paddle_serving_server").setLevel(logging.ERROR)
    # Log lines about requests are shortened, because their content comes from clients.
    handler = logging.StreamHandler()
    handler.setFormatter(BriefFormatter(LINE_FORMAT))
    logging.getLogger().addHandler(handler)


def exit_with_parent(parent: int) -> None:
    """Let Linux kill this process when its parent exits for any reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it exited before the call
        os.kill(os.getpid(), signal.SIGKILL)


def _become_worker() -> None:
    """In a forked worker: default signal handlers, and exit with the pipeline's main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    exit_with_parent(os.getppid())
