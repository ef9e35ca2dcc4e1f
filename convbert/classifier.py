"""Opening a trained classifier: the model and its text processor, checked against each other."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import numpy as np
import paddle

from convbert.processing import TextProcessor
from paddlenlp.transformers import ConvBertForSequenceClassification
from paddlenlp.utils.errors import UserError


def load_classifier(
    checkpoint_dir: str, max_seq_len: Optional[int] = None
) -> Tuple[ConvBertForSequenceClassification, TextProcessor]:
    """Open a fine-tuned checkpoint for prediction, in evaluation mode.

    Args:
        checkpoint_dir: directory with the model and its tokenizer files.
        max_seq_len: longest sequence in tokens; None: 128, or less if the model holds less.

    Raises:
        UserError: files are missing or do not fit together, or there is no trained head.
    """
    model = ConvBertForSequenceClassification.from_pretrained(checkpoint_dir, new_head=False)
    model.eval()
    positions = model.config.max_position_embeddings
    length = max_seq_len or min(128, positions)
    processor = TextProcessor.from_dir(checkpoint_dir, max_seq_len=length)
    check_vocabulary(processor, model.config.vocab_size, checkpoint_dir)
    check_length(length, positions)
    return model, processor


def check_vocabulary(processor: TextProcessor, expected: int, source: str) -> None:
    """Raise `UserError` unless the vocabulary has as many words as the embedding table."""
    size = processor.tokenizer.vocab_size
    if size != expected:
        raise UserError(
            f"the vocabulary in '{source}' has {size} words but the model was built for "
            f"{expected}: use the vocab.txt the model was trained with"
        )


def check_length(max_seq_len: int, positions: int) -> None:
    """Raise `UserError` if sequences could outgrow the position table."""
    if max_seq_len > positions:
        raise UserError(
            f"max_seq_len {max_seq_len} is more than the model's {positions} positions: lower it"
        )


def dygraph_runner(model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return ``run(input_ids, token_type_ids)``, [B, L] int64 each, to logits [B, C] float32."""

    @paddle.no_grad()
    def run(input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        return model(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids)).numpy()

    return run
