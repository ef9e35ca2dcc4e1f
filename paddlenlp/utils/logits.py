"""Logits to classes and probabilities, for metrics, inference and serving."""

import numpy as np


def predicted_classes(logits: np.ndarray) -> np.ndarray:
    """The class with the largest logit in each row of ``logits`` [B, C]: [B] int64."""
    if logits.ndim != 2:
        raise ValueError(f"logits must be [B, C], got shape {logits.shape}")
    return logits.argmax(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [B, C] float64 of logits [B, C]."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
