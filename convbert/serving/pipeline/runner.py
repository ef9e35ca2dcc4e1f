"""The model of one worker: encodes texts and runs them in batches of similar length."""

from collections.abc import Sequence

import numpy as np

from convbert.inference.classify import run_by_length
from convbert.inference.exported import open_exported
from convbert.serving.config import Settings
from paddlenlp.transformers.tokenizer_utils import Features, Text
from paddlenlp.utils.errors import UserError

# If each input shape copies the weights, padded lengths are multiples of this, for fewer shapes.
FEW = 16


class Runner:
    """The served model, for one thread; ``worker`` is its number.

    Raises:
        UserError: the files do not fit together, or this machine cannot run the model.
    """

    def __init__(self, settings: Settings, worker: int = 0):
        options = settings.engine_options(worker)
        self._engine, self.processor = open_exported(
            settings.model_dir, options, settings["max_seq_len"]
        )
        multiple = settings["pad_multiple"]
        self.processor.pad_multiple = max(multiple, FEW) if options.copies_weights else multiple
        self._batch_sizes = batch_sizes(settings["run_texts"], few=options.copies_weights)
        # The largest batch, so that it fails now if it does, and not during a request.
        self._run_unknown(self._batch_sizes[-1], settings["max_seq_len"])
        if options.copies_weights:
            self._warm_up(settings["warm_up_length"])

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
        return run_by_length(features, self.processor, self._run_filled, self._batch_sizes[-1])

    def _run_filled(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Run a batch; its first row is repeated to fill the next allowed batch size."""
        count = len(input_ids)
        size = next(size for size in self._batch_sizes if size >= count)
        rows = [*range(count), *[0] * (size - count)]
        return self._engine.run(input_ids[rows], token_type_ids[rows])[:count]

    def _run_unknown(self, rows: int, length: int) -> None:
        """Run texts of unknown words with this shape."""
        ids = np.full((rows, length), self.processor.tokenizer.unk_token_id, dtype=np.int64)
        self._engine.run(ids, np.zeros_like(ids))

    def _warm_up(self, longest: int) -> None:
        """Run each short input shape once, because its first run copies the weights."""
        step = self.processor.pad_multiple
        for length in range(step, longest + 1, step):
            for rows in self._batch_sizes:
                self._run_unknown(rows, length)


def batch_sizes(largest: int, few: bool) -> list[int]:
    """Return the allowed batch sizes: all up to ``largest``, or powers of two and ``largest``."""
    if not few:
        return list(range(1, largest + 1))
    return [2**power for power in range((largest - 1).bit_length())] + [largest]
