"""The steps of a request through the pipeline, in order.

Call `paddle_serving.prepare` before importing this module.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp
from paddle_serving_server.pipeline.channel import ChannelTimeoutError
from paddle_serving_server.pipeline.error_catch import CustomExceptionCode
from paddle_serving_server.pipeline.pipeline_server import PipelineServicer
from paddle_serving_server.pipeline.proto.pipeline_service_pb2 import Response

from convbert.command.machine import return_freed_memory, set_cpu_environment
from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.pipeline.runner import Runner
from convbert.serving.protocol import (
    SERVICE_NAME,
    TENSORS_REFUSED,
    ErrNo,
    RequestError,
    bad_request,
    pack_predictions,
    texts_of,
)
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

EXIT_WORKER_DIED = 70
_INTERNAL_ERROR = "internal error, see the server's log"


class CheckingServicer(PipelineServicer):
    """Answers calls; invalid requests are rejected before they enter the pipeline."""

    def __init__(self, settings: Settings, response_op: ResponseOp, dag_config: dict[str, Any]):
        super().__init__(SERVICE_NAME, response_op, dag_config)
        service = settings.service
        self._limits = service["max_texts"], service["max_text_chars"]
        self._timeout = service["request_timeout_s"]

    def inference(self, request, context):
        """Return the Response message of a Request message."""
        try:
            if request.name not in ("", SERVICE_NAME):
                raise RequestError(ErrNo.NO_SERVICE, f"no such service: this is {SERVICE_NAME}")
            if len(request.tensors):
                raise bad_request(TENSORS_REFUSED)
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
    """

    def __init__(self, settings: Settings, **kwargs: Any):
        super().__init__(**kwargs)
        self._settings = settings
        self._own = threading.local()
        self.worker_processes: list[Any] = []

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

    def start_with_process(self):
        """Start one process per worker and keep them, so that the server can watch them."""
        self.worker_processes = super().start_with_process()
        return self.worker_processes

    def start_with_thread(self):
        """Start one thread per worker."""
        self._import_paddle()  # in the main thread: it installs signal handlers
        return super().start_with_thread()

    def launch_local_rpc_service(self):
        """Do nothing: `Runner` runs the model in the worker."""

    def _import_paddle(self) -> None:
        return_freed_memory()
        options = self._settings.engine_options()
        if options.engine == "paddle":
            set_cpu_environment(options.cpu_threads)

    def _run(self, worker: int, *args):
        try:
            self._import_paddle()
            self._own.runner = Runner(self._settings, worker)
            super()._run(worker, *args)
        except UserError as error:  # the served model cannot be opened in this process
            # In a single write, because other threads print too.
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
        written_here = channeldata.error_code == CustomExceptionCode.PRODUCT_ERROR.value
        if response.err_no and not written_here:
            response.err_no, response.err_msg = int(ErrNo.INTERNAL), _INTERNAL_ERROR
        return response
