"""The pipeline as Paddle Serving 0.9.0 ships it, to be measured against ours. Never expose it.

Its defaults, its local predictor, its Go gateway: it listens on every address and runs the pickles
it is sent. Only the modules that no longer install are replaced
(``convbert.serving.pipeline.paddle_serving``).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.serving.pipeline import paddle_serving

paddle_serving.prepare()
from paddle_serving_server.pipeline import Op
from paddle_serving_server.web_service import WebService

from convbert.serving.protocol import pack_predictions
from convbert.text.processing import TextProcessor


class PlainOp(Op):
    """The same processing as ours, without checks."""

    model_dir = ""

    def init_op(self):
        """Open the tokenizer."""
        self.processor = TextProcessor.from_dir(self.model_dir, max_seq_len=128)

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        """Return the feeds of one text."""
        (request,) = input_dicts.values()
        ids, types = self.processor.collate(self.processor.encode([request["text"]]))
        return {"input_ids": ids, "token_type_ids": types}, False, None, ""

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        """Return label and probability."""
        (logits,) = fetch_data.values()
        answers = self.processor.decode(logits)
        return pack_predictions([a.label_id for a in answers], [a.prob for a in answers]), None, ""


class PlainService(WebService):
    """One Op."""

    def get_pipeline_response(self, read_op):
        """Return it."""
        return PlainOp(name="convbert", input_ops=[read_op])


def main(argv) -> None:
    """Serve model directory, HTTP port and RPC port until interrupted."""
    PlainOp.model_dir, http_port, rpc_port = argv
    local = {"client_type": "local_predictor", "model_config": PlainOp.model_dir}
    service = PlainService(name="convbert")
    service.prepare_pipeline_config(
        yml_dict={
            "http_port": int(http_port),
            "rpc_port": int(rpc_port),
            "dag": {"is_thread_op": False},
            "op": {"convbert": {"local_service_conf": {**local, "devices": ""}}},
        }
    )
    service.run_service()


if __name__ == "__main__":
    main(sys.argv[1:])
