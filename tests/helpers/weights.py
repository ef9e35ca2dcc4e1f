"""Changing weights in files that only an engine reads."""

from pathlib import Path

import numpy as np

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_weights
from tests.conftest import TINY_WORDS


def fill_row(path: Path, checkpoint: Path, word: str, value: float) -> None:
    """Fill a word's row of the table of embeddings in a file with weights of a model.

    Args:
        path: the file; it holds the table as it lies in memory.
        checkpoint: of `tiny_checkpoint`, which was exported.
        word: one of `TINY_WORDS`; the first run of a model uses [UNK] only.
        value: for all numbers of the row.
    """
    weights = read_weights(str(checkpoint / WEIGHTS_FILE))
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    row, content = weights[name][TINY_WORDS.index(word)], path.read_bytes()
    assert content.count(row.tobytes()) == 1
    path.write_bytes(content.replace(row.tobytes(), np.full_like(row, value).tobytes()))
