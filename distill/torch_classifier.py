"""A torch sequence classifier over lists of token ids: padding, logits, accuracy.

Needs torch and transformers (``requirements-distill.txt``), in an environment of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

MAX_TOKENS = 128
READ_BATCH = 32


def load_classifier(folder: str | Path) -> PreTrainedModel:
    """Open a transformers folder with a two-class head; an encoder gets a new head."""
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)


class Encoder:
    """Texts to token ids with the tokenizer of a transformers folder."""

    def __init__(self, folder: str | Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Ids of B texts -> input_ids and attention_mask, int64 [B, L]."""
        width = max(len(row) for row in ids)
        padding = self.tokenizer.pad_token_id
        rows = [list(row) + [padding] * (width - len(row)) for row in ids]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in ids]
        return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


def predict_logits(
    model: PreTrainedModel, encoder: Encoder, ids: Sequence[Sequence[int]], bf16: bool = False
) -> np.ndarray:
    """Logits, float32 [rows, 2], in the order of ``ids``; the model's mode is put back after."""
    was_training = model.training
    model.eval()
    logits = np.zeros((len(ids), model.config.num_labels), dtype=np.float32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        for start in range(0, len(order), READ_BATCH):
            batch = order[start : start + READ_BATCH]
            found = model(**encoder.pad([ids[row] for row in batch])).logits
            logits[batch] = found.float().numpy()
    model.train(was_training)
    return logits


def accuracy(logits: np.ndarray, labels: Sequence[int]) -> float:
    """Share of rows whose largest logit is at the label."""
    return float(np.mean(logits.argmax(axis=1) == np.asarray(labels)))
