"""The model of one worker: encodes texts and runs them in batches of similar length."""

from collections.abc import Sequence

import numpy as np

from convbert.inference.classify import run_by_length
from convbert.inference.exported import open_exported
from convbert.serving.config import Settings
from paddlenlp.transformers.tokenizer_utils import Features, Text
from paddlenlp.utils.errors import UserError


class Runner:
    """The served model, for one thread; ``worker`` is its number.

    Raises:
        UserError: the files do not fit together, or this machine cannot run the model.
    """

    def __init__(self, settings: Settings, worker: int = 0):
        self._engine, self.processor = open_exported(
            settings.model_dir, settings.engine_options(worker), settings["max_seq_len"]
        )
        self.processor.pad_multiple = settings["pad_multiple"]
        self._batch_size = settings["run_texts"]
        # The largest batch, so that it fails now if it does, and not during a request.
        shape = (self._batch_size, settings["max_seq_len"])
        ids = np.full(shape, self.processor.tokenizer.unk_token_id, dtype=np.int64)
        self._engine.run(ids, np.zeros_like(ids))

    def encode(self, texts: Sequence[Text]) -> list[Features]:
        """Encode texts; each keeps its own length.

        Raises:
            UserError: a text is empty, or a token id lies outside the vocabulary.
        """
        features = self.processor.encode(texts)
        ids = [token for feature in features for token in feature.input_ids]
        # Such an id would read a wrong row of the embedding table, or crash the process.
        if min(ids) < 0 or max(ids) >= self.processor.tokenizer.vocab_size:
            raise UserError("token-id", "a token id lies outside the vocabulary")
        return features

    def run(self, features: Sequence[Features]) -> np.ndarray:
        """Return logits [B, C] float32 of B encoded texts, in the order of the texts."""
        return run_by_length(features, self.processor, self._engine.run, self._batch_size)
