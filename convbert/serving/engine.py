"""What a worker of the pipeline computes with: the served program and its text processor."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from convbert.command.machine import return_freed_memory, set_cpu_environment
from convbert.inference.engines.paddle_inference import Predictor, find_program
from convbert.inference.exported import open_processor
from convbert.inference.program import read_program
from convbert.serving.convert import check_served
from convbert.serving.settings import Settings
from convbert.text.processing import length_sorted_batches
from paddlenlp.utils.errors import UserError


class Engine:
    """The served model: one predictor per worker (they are not thread-safe), one tokenizer.

    Raises:
        UserError: the directory is no served model, or its files do not fit together.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._own = threading.local()
        self._client_installed = False
        self._copies_weights = settings.engine_options().copies_weights
        self._batch_sizes = batch_sizes(settings.service["run_texts"], few=self._copies_weights)
        check_served(settings.model_dir)
        program, _ = find_program(settings.model_dir)
        self._program = read_program(program)
        service = settings.service
        self.processor = open_processor(
            settings.model_dir,
            max_seq_len=service["max_seq_len"],
            pad_multiple=service["pad_multiple"],
            program=self._program,
        )

    def open(self, worker: int) -> None:
        """Give the calling thread its predictor; oneDNN prepares shapes per thread."""
        options = self._settings.engine_options(worker)
        self._own.predictor = Predictor(self._settings.model_dir, options)
        self._try_longest(self._own.predictor)
        if self._copies_weights:
            self._warm_up(self._own.predictor)

    def _warm_up(self, predictor: Predictor) -> None:
        """Meet the shapes of short texts now: their first run copies the weights."""
        service = self._settings.service
        step = service["pad_multiple"]
        for length in range(step, service["warm_up_length"] + 1, step):
            for rows in self._batch_sizes:
                ids = np.full((rows, length), self.processor.tokenizer.unk_token_id, dtype=np.int64)
                predictor.run(ids, np.zeros_like(ids))

    def _try_longest(self, predictor: Predictor) -> None:
        """Run the largest batch once: what is too long for the position table, or too large for
        the memory, fails here and not later."""
        shape = self._batch_sizes[-1], self._settings.service["max_seq_len"]
        ids = np.full(shape, self.processor.tokenizer.unk_token_id, dtype=np.int64)
        try:
            predictor.run(ids, np.zeros_like(ids))
        except Exception as error:  # Paddle raises several types
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                "served-model",
                f"the served model cannot run max_seq_len {shape[1]} ({reason}): lower it in the "
                "config's section 'service'",
            ) from None

    def install_client(self) -> None:
        """Let Paddle Serving's local predictor compute with this engine.

        Its own (paddle_serving_app.local_predict) reads .pdmodel only, opens the program without
        the optimisations of ``Predictor`` and falls back to the CPU without a word.
        """
        if self._client_installed:
            return
        return_freed_memory()
        set_cpu_environment(self._settings.engine_options().cpu_threads)
        from paddle_serving_app import local_predict  # imports Paddle

        engine, self._client_installed = self, True

        class EngineClient(local_predict.LocalPredictor):
            def load_model_config(self, model_path, *args: Any, **kwargs: Any) -> None:
                self.feed_names_ = [variable.name for variable in engine._program.feeds]
                self.fetch_names_ = [variable.name for variable in engine._program.fetches[:1]]

            def predict(self, feed=None, fetch=None, batch=False, log_id=0):
                return {self.fetch_names_[0]: engine.run(feed)}

        local_predict.LocalPredictor = EngineClient

    def encode(self, texts: list[Any]) -> dict[str, np.ndarray]:
        """Encode texts into ``input_ids`` and ``token_type_ids``, each [B, L] int64.

        Raises:
            UserError: a token id lies outside the vocabulary.
        """
        input_ids, token_type_ids = self.processor.collate(self.processor.encode(texts))
        if input_ids.min() < 0 or input_ids.max() >= self.processor.tokenizer.vocab_size:
            raise UserError("token-id", "a token id lies outside the vocabulary")
        return {"input_ids": input_ids, "token_type_ids": token_type_ids}

    def pad_together(self, feeds: list[dict[str, np.ndarray]]) -> None:
        """Widen feeds, each [B, L], in place to the longest L among them."""
        width = max((feed["input_ids"].shape[1] for feed in feeds), default=0)
        fill = {"input_ids": self.processor.tokenizer.pad_token_id, "token_type_ids": 0}
        for feed in feeds:
            missing = ((0, 0), (0, width - feed["input_ids"].shape[1]))
            for name in feed:
                feed[name] = np.pad(feed[name], missing, constant_values=fill[name])

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """Run [B, L] int64 feeds in batches of similar length; logits [B, C] float32."""
        input_ids, token_type_ids = feed["input_ids"], feed["token_type_ids"]
        lengths = self._lengths(input_ids)
        order, logits = [], []
        for rows in length_sorted_batches(lengths, self._batch_sizes[-1]):
            width = self._width(max(lengths[row] for row in rows), input_ids.shape[1])
            # Where the sizes are few, a row is repeated up to the next one.
            size = next(size for size in self._batch_sizes if size >= len(rows))
            filled = rows + rows[:1] * (size - len(rows))
            batch = self._own.predictor.run(
                input_ids[filled, :width], token_type_ids[filled, :width]
            )
            order += rows
            logits.append(batch[: len(rows)])
        return np.concatenate(logits)[np.argsort(order)]

    def _lengths(self, input_ids: np.ndarray) -> list[int]:
        """Tokens of each row [B, L] up to the last that is no padding."""
        places = np.arange(1, input_ids.shape[1] + 1)
        return ((input_ids != self.processor.tokenizer.pad_token_id) * places).max(axis=1).tolist()

    def _width(self, longest: int, available: int) -> int:
        multiple = self._settings.service["pad_multiple"]
        return min(available, -(-longest // multiple) * multiple)


def batch_sizes(largest: int, few: bool) -> list[int]:
    """Return the batch sizes that are run, up to ``largest``.

    All of them; or, for few shapes, powers of two and ``largest``.
    """
    if not few:
        return list(range(1, largest + 1))
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]
