"""Opening a trained classifier: the model and its text processor, checked against each other."""

from collections.abc import Callable

import numpy as np
import paddle

from convbert.text.processing import TextProcessor
from paddlenlp.transformers import ConvBertForSequenceClassification


def load_classifier(
    checkpoint_dir: str, max_seq_len: int | None = None
) -> tuple[ConvBertForSequenceClassification, TextProcessor]:
    """Open a fine-tuned checkpoint for prediction, in evaluation mode.

    Args:
        checkpoint_dir: directory with the model and its tokenizer files.
        max_seq_len: longest sequence in tokens; None: 128, or less if the model allows less.

    Raises:
        UserError: files are missing or do not fit together, or there is no trained head.
    """
    model = ConvBertForSequenceClassification.from_pretrained(checkpoint_dir, new_head=False)
    model.eval()
    processor = TextProcessor.from_dir(checkpoint_dir, max_seq_len, config=model.config)
    return model, processor


def dygraph_runner(model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of input_ids and token_type_ids, [B, L] int64, that gives logits [B, C]."""

    @paddle.no_grad()
    def run(input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        return model(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids)).numpy()

    return run
