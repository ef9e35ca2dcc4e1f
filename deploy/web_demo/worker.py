"""The model of the web demo, in a separate process: one JSON request and answer per line.

Started by app.py with the Python of the project, because Gradio and the service need different
versions of the same packages.

    python deploy/web_demo/worker.py --model_path convbert_base_outputs/best.pdparams
"""

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.classify import classify
from convbert.inference.default_model import default_checkpoint
from convbert.serving.clients import CallError, answer_of
from convbert.serving.protocol import TEXT_KEY, RequestError, texts_of
from convbert.text.reading import Row
from deploy.web_demo.app import add_model_flags
from paddlenlp.utils.errors import UserError

BATCH_SIZE = 8
TIMEOUT_S = 30.0  # for an answer of the service


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add_model_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Open the model, report that it is ready, then answer until the input ends."""
    args = parse_args(argv)
    # Paddle sometimes prints to standard output, so the answers get a separate stream.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    model = Service(args.url) if args.url else Local(args)
    print(json.dumps(model.ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(model, json.loads(line))), file=answers, flush=True)


def answer(model: "Local | Service", request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: see `deploy.web_demo.app.Model.ask`; "limits" are as in `texts_of`."""
    texts, layer = request["texts"], request["layer"]
    try:
        texts_of([TEXT_KEY] * len(texts), texts, *request["limits"])
        if layer is None:
            return {"answers": model.answers(texts)}
        return {"answers": model.answers(texts[:1]), **model.explain(texts[0], layer - 1)}
    except (UserError, CallError, RequestError) as error:
        return {"error": str(error)}


class Local:
    """A trained checkpoint or an exported model."""

    def __init__(self, args: argparse.Namespace):
        start_paddle()
        from convbert.inference.dygraph import dygraph_runner, load_classifier
        from convbert.inference.exported import open_exported

        self.model = None
        if args.model_dir:
            engine, self.processor = open_exported(args.model_dir)
            self.run = engine.run
        else:
            self.model, self.processor = load_classifier(args.model_path or default_checkpoint())
            self.run = dygraph_runner(self.model)
        self.ready = {"explains": True, "kernels": self.model is not None}

    def answers(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The label and the probability of each text."""
        rows = [Row(text, where=f"text {number}") for number, text in enumerate(texts, start=1)]
        found = classify(rows, self.processor, self.run, BATCH_SIZE)
        return [(prediction.label, prediction.prob) for _, prediction in found]

    def explain(self, text: str, layer: int) -> dict[str, Any]:
        """The colored words: by hiding each word, or by integrated gradients with a picture."""
        from convbert.explain import pictures
        from convbert.explain.explanation import explain
        from convbert.explain.words import occlude

        if self.model is None:
            return {"words": pictures.words_html(occlude(self.run, self.processor, text))}
        with hold_signals():
            found = explain(self.model, self.processor, text)
        effects = [(word.text, word.gradients) for word in found.words]
        picture = pictures.layer_png(found, min(layer, len(found.kernels) - 1))
        return {
            "words": pictures.words_html(effects),
            "picture": base64.b64encode(picture).decode(),
        }


class Service:
    """A running service."""

    ready = {"explains": False, "kernels": False}

    def __init__(self, url: str):
        from deploy.serving_python.pipeline_http_client import connect

        self.send = connect(url, TIMEOUT_S)

    def answers(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The label and the probability of each text; the service runs several together."""

        def label(text: str) -> tuple[str, float]:
            answered = answer_of(self.send(text, 0))
            return answered.get("label", str(answered["label_id"])), answered["prob"]

        with ThreadPoolExecutor(BATCH_SIZE) as pool:
            return list(pool.map(label, texts))


if __name__ == "__main__":
    run_main(main)
