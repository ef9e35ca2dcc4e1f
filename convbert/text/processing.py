"""Text to features and logits to answers: the one place, for dygraph, inference and serving.

NumPy and the tokenizer only; Paddle is never imported here, so an HTTP worker can use it alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convbert.inference.program import ProgramInfo, find_programs, read_program
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.tokenizer import ConvBertTokenizer
from paddlenlp.transformers.tokenizer_utils import CONFIG_FILE as TOKENIZER_CONFIG_FILE
from paddlenlp.transformers.tokenizer_utils import Features, Text
from paddlenlp.utils.errors import UserError

DEFAULT_MAX_SEQ_LEN = 128


@dataclass(frozen=True)
class Prediction:
    """One answer. For a regression model ``label_id`` is 0, ``prob`` the score and ``label`` ''."""

    label_id: int
    prob: float
    label: str = ""


class TextProcessor:
    """Encodes texts for the model and decodes its logits.

    Args:
        tokenizer: the tokenizer saved beside the weights.
        max_seq_len: longest sequence in tokens, special tokens included; longer texts are cut.
        label_names: class names by label id, or None when the checkpoint has none.
        pad_multiple: round padded lengths up to a multiple of this number. Few distinct shapes
            keep oneDNN's per-shape primitive cache small.
    """

    def __init__(
        self,
        tokenizer: ConvBertTokenizer,
        max_seq_len: int = DEFAULT_MAX_SEQ_LEN,
        label_names: Sequence[str] | None = None,
        pad_multiple: int = 1,
    ):
        self.tokenizer = tokenizer
        self.max_seq_len = max_seq_len
        self.label_names = list(label_names) if label_names else None
        self.pad_multiple = pad_multiple

    @classmethod
    def from_dir(
        cls,
        path: str,
        max_seq_len: int | None = None,
        pad_multiple: int = 1,
        config: ConvBertConfig | None = None,
        program: ProgramInfo | None = None,
    ) -> TextProcessor:
        """Open the tokenizer and label names of a checkpoint, exported or served directory.

        Args:
            path: the directory.
            max_seq_len: as in the class; None: 128, or less if the model has fewer positions.
            pad_multiple: as in the class.
            config: the model's configuration; None: the ``model_config.json`` in ``path``, if any.
            program: what its program says; None: read where there is no configuration.

        Raises:
            UserError: files are missing or damaged, or the model and these texts do not fit.
        """
        tokenizer = ConvBertTokenizer.from_pretrained(path)
        config_file = os.path.join(path, CONFIG_FILE)
        if config is None and os.path.isfile(config_file):
            config = ConvBertConfig.from_dict(read_json(config_file))
        positions = config.max_position_embeddings if config else DEFAULT_MAX_SEQ_LEN
        length = max_seq_len or min(DEFAULT_MAX_SEQ_LEN, positions)
        processor = cls(tokenizer, length, tokenizer.label_names, pad_multiple)
        programs = find_programs(path)
        if programs and not os.path.isfile(os.path.join(path, TOKENIZER_CONFIG_FILE)):
            raise UserError(  # it names the labels
                "export", f"exported model '{path}' lacks {TOKENIZER_CONFIG_FILE}: export it again"
            )
        if config is not None:
            processor.check_fits(config, path)
        elif programs:
            rows = (program or read_program(programs[0])).vocab_size
            processor._check_words(rows, path, "the program was exported")
        return processor

    def check_fits(self, config: ConvBertConfig, source: str) -> None:
        """Check that no id and no position can fall outside the model's tables.

        Raises:
            UserError: the vocabulary has another size or another padding word, or sequences could
                be too long.
        """
        self._check_words(config.vocab_size, source, "the model was built")
        positions = config.max_position_embeddings
        padding = self.tokenizer.pad_token_id
        if padding != config.pad_token_id:
            raise UserError(
                "vocabulary",
                f"the vocabulary of '{source}' has [PAD] as word {padding} but the model's "
                f"pad_token_id is {config.pad_token_id}: use the vocab.txt it was trained with",
            )
        if self.max_seq_len > positions:
            raise UserError(
                "sequence-length",
                f"a sequence length of {self.max_seq_len} is more than the model's {positions} "
                "positions: lower it",
            )

    def _check_words(self, rows: int | None, source: str, made: str) -> None:
        words = self.tokenizer.vocab_size
        if rows not in (None, words):
            raise UserError(
                "vocabulary",
                f"the vocabulary of '{source}' has {words} words but {made} for {rows}: use the "
                "vocab.txt that belongs to it",
            )

    def encode(self, texts: Sequence[Text], allow_empty: bool = False) -> list[Features]:
        """Encode sentences, or (sentence, sentence) pairs, as ``[CLS] a [SEP] (b [SEP])``.

        Args:
            texts: what to encode.
            allow_empty: take an empty text for what it is (data) and not for a mistake.

        Raises:
            UserError: a text is not a string or is empty.
        """
        for number, text in enumerate(texts, start=1):
            parts = (text,) if isinstance(text, str) else tuple(text)
            if not parts or not all(isinstance(part, str) for part in parts):
                raise UserError(
                    "text", f"text {number} is not a string: give one sentence or a pair"
                )
            if not allow_empty and not all(part.strip() for part in parts):
                raise UserError("text", f"text {number} is empty: give at least one word")
        return self.tokenizer.batch_encode(texts, max_seq_len=self.max_seq_len)

    def collate(self, features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray]:
        """Pad to the longest text. Returns ``input_ids, token_type_ids``, each [B, L] int64."""
        longest = max(len(feature.input_ids) for feature in features)
        length = -(-longest // self.pad_multiple) * self.pad_multiple
        # Rounding up must not leave the position table (or the user's bound) behind.
        length = max(longest, min(length, self.max_seq_len))
        input_ids = np.full((len(features), length), self.tokenizer.pad_token_id, dtype=np.int64)
        token_type_ids = np.zeros_like(input_ids)
        for row, feature in enumerate(features):
            input_ids[row, : len(feature.input_ids)] = feature.input_ids
            token_type_ids[row, : len(feature.token_type_ids)] = feature.token_type_ids
        return input_ids, token_type_ids

    def decode(self, logits: np.ndarray) -> list[Prediction]:
        """Turn logits [B, C] float into answers: argmax and its softmax probability.

        One column (C = 1) is a regression score and is passed through.
        """
        logits = np.asarray(logits, dtype=np.float64)
        if logits.ndim != 2:
            raise ValueError(f"logits must be [B, C], got shape {logits.shape}")
        if logits.shape[1] == 1:
            return [Prediction(0, float(score)) for score in logits[:, 0]]
        return [self._prediction(row) for row in softmax(logits)]

    def _prediction(self, probs: np.ndarray) -> Prediction:
        label_id = int(probs.argmax())
        return Prediction(label_id, float(probs[label_id]), self._label(label_id))

    def _label(self, label_id: int) -> str:
        named = self.label_names is not None and label_id < len(self.label_names)
        return self.label_names[label_id] if named else str(label_id)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [B, C] float64 of logits [B, C]."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def length_sorted_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield lists of at most ``batch_size`` indices whose texts have similar lengths.

    Longest first, so that the largest batch (the memory peak) comes at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
