"""One worker's model: encodes texts, runs them in batches of similar length, decodes logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convbert.inference.exported import open_exported
from convbert.serving.config import Settings
from convbert.text.processing import length_sorted_batches
from paddlenlp.transformers.tokenizer_utils import Features, Text
from paddlenlp.utils.errors import UserError

# Padded lengths are multiples of this where each input shape makes a copy of the weights.
FEW = 16


class Runner:
    """The served model, for one thread.

    Args:
        settings: model directory, engine, lengths and batches.
        worker: number of the worker that runs it.

    Raises:
        UserError: the files do not fit together, or this machine cannot run them.
    """

    def __init__(self, settings: Settings, worker: int = 0):
        self._service = settings.service
        options = settings.engine_options(worker)
        self._engine, self.processor = open_exported(
            settings.model_dir, options, self._service["max_seq_len"]
        )
        multiple = self._service["pad_multiple"]
        self.processor.pad_multiple = max(multiple, FEW) if options.copies_weights else multiple
        self._batch_sizes = batch_sizes(self._service["run_texts"], few=options.copies_weights)
        self._try_longest()
        if options.copies_weights:
            self._warm_up()

    def encode(self, texts: Sequence[Text]) -> list[Features]:
        """Encode texts; each keeps its own length.

        Raises:
            UserError: a text is empty, or a token id lies outside the vocabulary.
        """
        features = self.processor.encode(texts)
        ids = [token for feature in features for token in feature.input_ids]
        # Such an id would read another row of the embedding table, or end the process.
        if min(ids) < 0 or max(ids) >= self.processor.tokenizer.vocab_size:
            raise UserError("token-id", "a token id lies outside the vocabulary")
        return features

    def run(self, features: Sequence[Features]) -> np.ndarray:
        """Return logits [B, C] float32 of B encoded texts, in their order."""
        lengths = [len(feature.input_ids) for feature in features]
        order, logits = [], []
        for rows in length_sorted_batches(lengths, self._batch_sizes[-1]):
            # Where few sizes are run, a row is repeated up to the next size.
            size = next(size for size in self._batch_sizes if size >= len(rows))
            filled = rows + rows[:1] * (size - len(rows))
            batch = self._engine.run(*self.processor.collate([features[row] for row in filled]))
            order += rows
            logits.append(batch[: len(rows)])
        return np.concatenate(logits)[np.argsort(order)]

    def _run_unknown(self, rows: int, length: int) -> None:
        """Run texts of unknown words, to see whether or how fast this shape runs."""
        ids = np.full((rows, length), self.processor.tokenizer.unk_token_id, dtype=np.int64)
        self._engine.run(ids, np.zeros_like(ids))

    def _try_longest(self) -> None:
        """Run the largest batch: what is too long for the position table, or too large for the
        memory, fails now and not with a request."""
        longest = self._service["max_seq_len"]
        try:
            self._run_unknown(self._batch_sizes[-1], longest)
        except Exception as error:  # Paddle raises several types
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                "served-model",
                f"the served model cannot run max_seq_len {longest} ({reason}): lower it in the "
                "config's section 'service'",
            ) from None

    def _warm_up(self) -> None:
        """Run each short input shape once, since its first run copies the weights."""
        step = self.processor.pad_multiple
        for length in range(step, self._service["warm_up_length"] + 1, step):
            for rows in self._batch_sizes:
                self._run_unknown(rows, length)


def batch_sizes(largest: int, few: bool) -> list[int]:
    """Return the batch sizes that are run, up to ``largest``.

    All of them; or, for few input shapes, powers of two and ``largest``.
    """
    if not few:
        return list(range(1, largest + 1))
    return [2**power for power in range((largest - 1).bit_length())] + [largest]
