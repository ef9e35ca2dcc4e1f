"""The Op that labels texts. Call `paddle_serving.prepare` before importing this module."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from paddle_serving_server.pipeline import Op
from paddle_serving_server.pipeline.channel import (
    ChannelData,
    ChannelDataErrcode,
    ChannelTimeoutError,
)

from convbert.command.machine import return_freed_memory, set_cpu_environment
from convbert.command.start import EXIT_USER_ERROR
from convbert.serving.config import Settings
from convbert.serving.pipeline.runner import Runner
from convbert.serving.protocol import ErrNo, pack_predictions
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

EXIT_WORKER_DIED = 70


class ConvBertOp(Op):
    """Labels texts; requests that wait at the same time are run together.

    Paddle Serving's own batching waits to fill a batch and stacks arrays of one length only. Here a
    single request runs immediately; those that arrive meanwhile share the next run, in batches of
    similar length. The model masks padding, so answers do not depend on the rest of a batch.
    """

    def __init__(self, settings: Settings, **kwargs: Any):
        super().__init__(**kwargs)
        self._settings = settings
        self._own = threading.local()
        self.worker_processes: list[Any] = []

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        """Return the encoded texts of a request: features with their own lengths."""
        (request,) = input_dicts.values()
        # Computing an answer that the client no longer waits for would delay the others.
        if time.monotonic() > request["deadline"]:
            return {}, False, int(ErrNo.TIMEOUT), "no answer in time"
        try:
            return self._own.runner.encode(request["texts"]), False, None, ""
        except UserError as error:
            return {}, False, int(ErrNo.BAD_REQUEST), str(error)

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        """Return the label ids and probabilities of logits [B, C], as text."""
        predictions = self._own.runner.processor.decode(fetch_data)
        packed = pack_predictions([p.label_id for p in predictions], [p.prob for p in predictions])
        return packed, None, ""

    def start_with_process(self):
        """Start one process per worker and keep them for the server's watch."""
        self.worker_processes = super().start_with_process()
        return self.worker_processes

    def start_with_thread(self):
        """Start one thread per worker."""
        self._import_paddle()  # in the main thread: it installs signal handlers
        return super().start_with_thread()

    def launch_local_rpc_service(self):
        """Launch nothing: `Runner` computes in the worker itself."""

    def _import_paddle(self) -> None:
        return_freed_memory()
        set_cpu_environment(self._settings.local["thread_num"])

    def _run(self, worker: int, *args):
        try:
            self._import_paddle()
            self._own.runner = Runner(self._settings, worker)
            super()._run(worker, *args)
        except UserError as error:  # the served model cannot be opened in this process
            print(f"error: {error} [{error.code}]", file=sys.stderr, flush=True)
            os._exit(EXIT_USER_ERROR)
        except BaseException:  # requests would hang if only this thread ended
            get_logger().exception("worker %s failed: ending the pipeline", worker)
            os._exit(EXIT_WORKER_DIED)

    def _auto_batching_generator(self, input_channel, op_name, batch_size, timeout, op_info_prefix):
        while True:
            batch = [input_channel.front(op_name)]
            while len(batch) < batch_size:
                try:
                    # None and 0 would wait without limit; this takes only what waits already.
                    batch.append(input_channel.front(op_name, timeout or 1e-6))
                except ChannelTimeoutError:
                    break
            yield batch

    def _run_process(self, preped_data_dict, op_info_prefix, skip_process_dict, logid_dict):
        """Run the texts of all requests; return logits [B, C] by request, and errors by request."""
        features = [feature for texts in preped_data_dict.values() for feature in texts]
        try:
            logits = self._own.runner.run(features)
        except Exception as error:
            get_logger().exception("the model failed")
            code = ChannelDataErrcode.UNKNOW.value
            return {}, {
                data_id: ChannelData(
                    error_code=code,
                    error_info=str(error),
                    data_id=data_id,
                    log_id=logid_dict.get(data_id),
                )
                for data_id in preped_data_dict
            }
        answers, start = {}, 0
        for data_id, texts in preped_data_dict.items():
            answers[data_id] = logits[start : start + len(texts)]
            start += len(texts)
        return answers, {}
