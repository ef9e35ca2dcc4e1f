"""The model of the page, in a separate process: reads and answers one JSON request per line.

Started by app.py with the Python of the project, because Gradio and the service need different
versions of the same packages.

    python deploy/web_demo/worker.py --model_path convbert_base_outputs/best.pdparams
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.classify import classify
from convbert.inference.default_model import default_checkpoint
from convbert.serving.clients import CallError, answer_of
from convbert.serving.protocol import TEXT_KEY, RequestError, texts_of
from convbert.text.reading import Row
from deploy.web_demo.models import add_model_flags, model_flags
from paddlenlp.utils.errors import UserError

BATCH_SIZE = 8
TIMEOUT_S = 30.0  # for an answer of the service


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add_model_flags(parser)
    args = parser.parse_args(argv)
    model_flags(args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Open the model, report that it is ready, then answer until the input ends."""
    args = parse_args(argv)
    # Paddle sometimes prints to standard output, so the answers get a separate stream.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    model = open_model(args)
    ready = {"explains": not args.url, "kernels": isinstance(model, Checkpoint)}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(model, json.loads(line))), file=answers, flush=True)


def open_model(args: argparse.Namespace) -> Checkpoint | Export | Service:
    """Open what the flags name."""
    if args.url:
        return Service(args.url)
    start_paddle()
    if args.model_dir:
        return Export(args.model_dir)
    return Checkpoint(args.model_path or default_checkpoint())


def answer(model: Checkpoint | Export | Service, request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request.

    Args:
        model: the model or the service.
        request: "texts", and their "limits" as in `texts_of`; with "layer", a number from 0, the
            first text is explained.
    """
    texts = request["texts"]
    try:
        texts_of([TEXT_KEY] * len(texts), texts, *request["limits"])
        if "layer" in request:
            found = model.explain(texts[0], request["layer"])
            return {**found, "text": texts[0], "answers": model.answers(texts[:1])}
        return {"answers": model.answers(texts)}
    except (UserError, CallError, RequestError) as error:
        return {"error": str(error)}


class _Local:
    """A model with a text processor and a function that runs it."""

    def answers(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The label and the probability of each text."""
        rows = [Row(text, where=f"text {number}") for number, text in enumerate(texts, start=1)]
        found = classify(rows, self.processor, self.run, BATCH_SIZE)
        return [(prediction.label, prediction.prob) for _, prediction in found]


class Checkpoint(_Local):
    """A trained checkpoint: explained by integrated gradients, with its kernels."""

    def __init__(self, directory: str):
        from convbert.inference.dygraph import dygraph_runner, load_classifier

        self.model, self.processor = load_classifier(directory)
        self.run = dygraph_runner(self.model)

    def explain(self, text: str, layer: int) -> dict[str, Any]:
        """The colored words and a picture of one layer."""
        from convbert.explain import pictures
        from convbert.explain.explanation import explain

        with hold_signals():
            found = explain(self.model, self.processor, text)
        layer = min(layer, len(found.kernels) - 1)
        picture = base64.b64encode(pictures.layer_png(found, layer)).decode()
        return {"words": pictures.words_html(found), "picture": picture}


class Export(_Local):
    """An exported model: the effect of each word is measured by hiding it."""

    def __init__(self, directory: str):
        from convbert.inference.exported import open_exported

        engine, self.processor = open_exported(directory)
        self.run = engine.run

    def explain(self, text: str, layer: int) -> dict[str, Any]:
        """The colored words; there is no picture."""
        from convbert.explain import pictures
        from convbert.explain.words import occlude_text

        effects = occlude_text(self.run, self.processor, text)
        words = [SimpleNamespace(text=word, gradients=effect) for word, effect in effects]
        return {"words": pictures.words_html(SimpleNamespace(words=words))}


class Service:
    """A running service."""

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
