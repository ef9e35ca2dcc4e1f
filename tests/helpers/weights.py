"""Weights in other forms than ours, and changes of weights in files that only an engine reads."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_weights
from tests.conftest import TINY_WORDS


def write_pdparams(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write weights as PaddleNLP does."""
    path.write_bytes(pickle.dumps(arrays, protocol=2))


def write_shards(
    arrays: dict[str, np.ndarray], index: Path, names: list[str], save: Callable
) -> dict[str, str]:
    """Write weights in turn into the named files, and which one has each into the file ``index``.

    Args:
        arrays: the weights.
        index: its folder gets the files.
        names: of the files.
        save: writes a part of the arrays to a path.

    Returns:
        The name of the file of each array.
    """
    places = {}
    for number, name in enumerate(names):
        part = {key: arrays[key] for key in sorted(arrays)[number :: len(names)]}
        save(part, index.parent / name)
        places.update(dict.fromkeys(part, name))
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return places


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
