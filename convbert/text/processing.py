"""Text to features and logits to answers, in one place for training, inference and serving.

Paddle is never imported here: the HTTP front and the other engines work without it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.tokenizer import ConvBertTokenizer
from paddlenlp.transformers.labels import check_label_names
from paddlenlp.transformers.tokenizer_utils import Features, Text
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.logits import predicted_classes, softmax
from paddlenlp.utils.text import is_blank

DEFAULT_MAX_SEQ_LEN = 128
# Batches are padded to a multiple of this length. Engines keep kernels and buffers for each input
# shape, so fewer distinct lengths need less memory, and the tensor cores of a GPU work best with
# multiples of 8. Neither applies to training on a CPU, which pads to the longest text.
PAD_MULTIPLE = 8


@dataclass(frozen=True)
class Prediction:
    """One answer. For a regression model ``label_id`` is 0, ``prob`` the score and ``label`` ''."""

    label_id: int
    prob: float
    label: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the label has a name that says more than its id."""
        return self.label not in ("", str(self.label_id))

    def __str__(self) -> str:
        """What the commands print: ``label_id: 1, prob: 0.99``, then the label's name if any."""
        name = f", label: {self.label}" if self.is_named else ""
        return f"label_id: {self.label_id}, prob: {self.prob}{name}"


@dataclass(eq=False)
class TextProcessor:
    """Encodes texts for the model and decodes its logits.

    Attributes:
        tokenizer: the tokenizer saved beside the weights.
        max_seq_len: longest sequence in tokens, special tokens included; longer texts are cut.
        label_names: class names by label id, or None when the checkpoint has none.
        pad_multiple: round padded lengths up to a multiple of this number (see `PAD_MULTIPLE`).
        num_classes: C, the width of the model's logits; None if it is not known.
    """

    tokenizer: ConvBertTokenizer
    max_seq_len: int = DEFAULT_MAX_SEQ_LEN
    label_names: Sequence[str] | None = None
    pad_multiple: int = 1
    num_classes: int | None = None

    @classmethod
    def from_dir(
        cls,
        path: str,
        max_seq_len: int | None = None,
        pad_multiple: int = 1,
        config: ConvBertConfig | None = None,
    ) -> "TextProcessor":
        """Open the tokenizer and label names of a checkpoint or of an exported model.

        Args:
            path: its directory.
            max_seq_len: None: 128, or less if the model has fewer positions or its tokenizer's
                ``model_max_length`` is lower.
            pad_multiple: as in the class.
            config: the model's configuration; None: the ``model_config.json`` in ``path``, if any.

        Raises:
            UserError: files are missing or damaged, or the model and these texts do not fit.
        """
        tokenizer = ConvBertTokenizer.from_pretrained(path)
        config_file = os.path.join(path, CONFIG_FILE)
        if config is None and os.path.isfile(config_file):
            config = ConvBertConfig.from_dict(read_json(config_file), config_file)
        longest = min(DEFAULT_MAX_SEQ_LEN, tokenizer.model_max_length)
        if config is None:
            return cls(tokenizer, max_seq_len or longest, tokenizer.label_names, pad_multiple)
        length = max_seq_len or min(longest, config.max_position_embeddings)
        processor = cls(tokenizer, length, tokenizer.label_names, pad_multiple, config.num_classes)
        processor.check_fits(config, path)
        return processor

    def check_fits(self, config: ConvBertConfig, source: str) -> None:
        """Check that no id and no position can fall outside the model's tables.

        Raises:
            UserError: the vocabulary has a different size or padding token, or sequences could be
                too long.
        """
        words, rows = self.tokenizer.vocab_size, config.vocab_size
        if rows < words:
            found = f"the vocabulary of '{source}' has {words} words, its model only {rows}"
            raise UserError("vocabulary", f"{found}: use the vocab.txt that belongs to it")
        if self.label_names:
            check_label_names(list(self.label_names), source, config.num_classes)
        padding, expected = self.tokenizer.pad_token_id, config.pad_token_id
        if padding != expected:
            found = (
                f"the vocabulary of '{source}' has [PAD] at id {padding}, the model at {expected}"
            )
            raise UserError("vocabulary", f"{found}: use the vocab.txt it was trained with")
        length, positions = self.max_seq_len, config.max_position_embeddings
        if length > positions:
            found = f"a sequence length of {length} is more than the model's {positions} positions"
            raise UserError("sequence-length", f"{found}: lower it")

    def encode(
        self,
        texts: Sequence[Text],
        allow_empty: bool = False,
        places: Sequence[str] | None = None,
    ) -> list[Features]:
        """Encode sentences, or (sentence, sentence) pairs, as ``[CLS] a [SEP] (b [SEP])``.

        Args:
            texts: what to encode.
            allow_empty: accept empty texts, which some data sets contain.
            places: where each text comes from, for error messages; None: "text 1", "text 2", ...

        Raises:
            UserError: a text is not a string, or it has no words after normalisation.
        """
        places = places or [f"text {number}" for number in range(1, len(texts) + 1)]
        for place, text in zip(places, texts):
            pair = isinstance(text, (tuple, list)) and len(text) == 2
            if not all(isinstance(part, str) for part in (text if pair else [text])):
                raise UserError("text", f"{place} is not a string: give one sentence or a pair")
        features = self.tokenizer.batch_encode(texts, max_seq_len=self.max_seq_len)
        if allow_empty:
            return features
        for place, text, feature in zip(places, texts, features):
            single = isinstance(text, str)
            if any(map(is_blank, [text] if single else text)) or _without_words(feature, single):
                raise UserError("text", f"{place} is empty: give at least one word")
        return features

    def collate(self, features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray]:
        """Pad to the longest text. Returns ``input_ids, token_type_ids``, each [B, L] int64."""
        longest = max(len(feature.input_ids) for feature in features)
        length = -(-longest // self.pad_multiple) * self.pad_multiple
        # Rounding up must not exceed the position table or the user's limit.
        length = max(longest, min(length, self.max_seq_len))
        input_ids = np.full((len(features), length), self.tokenizer.pad_token_id, dtype=np.int64)
        token_type_ids = np.zeros_like(input_ids)
        for row, feature in enumerate(features):
            input_ids[row, : len(feature.input_ids)] = feature.input_ids
            token_type_ids[row, : len(feature.token_type_ids)] = feature.token_type_ids
        return input_ids, token_type_ids

    def decode(self, logits: np.ndarray) -> list[Prediction]:
        """Turn logits [B, C] float into answers: argmax and its softmax probability.

        One column (C = 1) is a regression score, which is returned unchanged.

        Raises:
            UserError: a logit is NaN or infinite.
        """
        logits = np.asarray(logits, dtype=np.float64)
        if not np.isfinite(logits).all():
            raise UserError("not-finite", "the model's logits are not finite: check its weights")
        classes = predicted_classes(logits)
        if logits.shape[1] == 1:
            return [Prediction(0, float(score)) for score in logits[:, 0]]
        probs = np.take_along_axis(softmax(logits), classes[:, None], axis=1)[:, 0]
        return [
            Prediction(label_id, prob, self._label(label_id))
            for label_id, prob in zip(classes.tolist(), probs.tolist())
        ]

    def _label(self, label_id: int) -> str:
        named = self.label_names is not None and label_id < len(self.label_names)
        return self.label_names[label_id] if named else str(label_id)


def _without_words(feature: Features, single: bool) -> bool:
    """Whether a text, or either sentence of a pair, has only special tokens.

    The tokenizer removes more than white space. A truncated pair may have lost a whole sentence.
    """
    tokens = len(feature.input_ids)
    if single:
        return tokens <= 2
    second = sum(feature.token_type_ids)  # with its [SEP]; the first has [CLS] and [SEP]
    return not feature.truncated and (tokens - second <= 2 or second <= 1)


def length_sorted_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield lists of at most ``batch_size`` indices whose texts have similar lengths.

    Longest first, so that the largest batch, which needs the most memory, comes first.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
