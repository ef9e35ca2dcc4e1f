"""Functions that make a batch from examples, under upstream's names."""

from paddlenlp.data.collate import Dict, Pad, Stack, Tuple

__all__ = ["Dict", "Pad", "Stack", "Tuple"]
