"""A teacher's logits in a file, in half precision, looked up by text.

This module needs only NumPy. Because the key of a row is its text and not its number, one file
works for the whole training data, for a part of it and for several files together. It is an
``.npz`` with

    keys    [T] uint64: the start of the SHA-256 of each text, sorted
    logits  [T, C] float16

and ``FILE.json`` beside it describes its origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convbert.training.tasks import Examples, Task
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write, write_json
from paddlenlp.utils.products import sha256

KEY_BYTES = 8
MANIFEST = ".json"  # after the name of the file
SHOWN_CHARACTERS = 60


def text_key(text: str | tuple[str, str]) -> int:
    """The key of one text or pair, without leading and trailing spaces."""
    parts = (text,) if isinstance(text, str) else text
    joined = "\t".join(part.strip() for part in parts)
    digest = hashlib.sha256(joined.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:KEY_BYTES], "little")


def text_keys(texts: Sequence[str]) -> np.ndarray:
    """Keys of texts, [T] uint64, in their order."""
    return np.array([text_key(text) for text in texts], dtype=np.uint64)


def write_teacher_logits(
    path: PathLike, texts: Sequence[str], logits: np.ndarray, made_from: dict
) -> None:
    """Write the logits [T, C] of texts and the manifest; for equal texts the first row counts.

    Args:
        path: the ``.npz`` file.
        texts: T texts.
        logits: [T, C] float; stored in half precision.
        made_from: origin, for the manifest, in addition to counts and checksum.
    """
    keys, first = np.unique(text_keys(texts), return_index=True)
    with atomic_write(path, "wb") as file:
        np.savez(file, keys=keys, logits=logits[first].astype(np.float16))
    counts = {"texts": len(keys), "classes": logits.shape[1], "sha256": sha256(path)}
    write_json(f"{path}{MANIFEST}", {**counts, **made_from})


def teacher_logits_of(path: str | None, examples: Examples, task: Task) -> np.ndarray | None:
    """The logits of a teacher for a split, [examples, C] float32; None without a teacher.

    Raises:
        UserError: the file is missing or damaged, its number of classes differs from the task's, or
            it has no logits for a text (shown).
    """
    if path is None:
        return None
    teacher = TeacherLogits(path)
    classes = teacher.logits.shape[1]
    if task.regression or classes != task.num_classes:
        raise UserError(
            "data-set",
            f"--teacher_logits {path} has {classes} classes, task {task.name} has "
            f"{task.num_classes}: use a teacher of this task",
        )
    return teacher.of(examples.texts)


class TeacherLogits:
    """The content of one file.

    Args:
        path: the ``.npz`` file, beside its manifest.

    Raises:
        UserError: a file is missing, or is not what the manifest describes.
    """

    def __init__(self, path: PathLike):
        self.path = str(path)
        if not Path(path).is_file():
            raise UserError("file-missing", f"--teacher_logits {path} does not exist")
        self.manifest = read_json(f"{path}{MANIFEST}")
        if self.manifest.get("sha256") != sha256(path):
            raise UserError(
                "file-damaged",
                f"{path} does not match its manifest {path}{MANIFEST}: make both again",
            )
        with np.load(path, allow_pickle=False) as arrays:
            self.keys, self.logits = arrays["keys"], arrays["logits"]

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """The logits of texts, [T, C] float32, in their order.

        Raises:
            UserError: the file has no logits for a text (shown).
        """
        keys = text_keys(texts)
        places = np.searchsorted(self.keys, keys)
        found = self.keys[np.minimum(places, len(self.keys) - 1)] == keys
        if not found.all():
            row = int(np.argmin(found))
            shown = str(texts[row])[:SHOWN_CHARACTERS]
            raise UserError(
                "data-set",
                f"{self.path} has no logits for {int((~found).sum())} of {len(texts)} texts, first "
                f"row {row + 1}, '{shown}': make the file from this data",
            )
        return self.logits[places].astype(np.float32)
