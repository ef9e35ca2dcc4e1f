"""What a student learns from a teacher: its logits in a file, and the loss that follows them.

The file has the logits in half precision, looked up by text. Because the key of a row is its text
and not its number, one file works for the whole training data, for a part of it and for several
files together. It is an ``.npz`` with

    keys    [T] uint64: the start of the SHA-256 of each text, sorted
    logits  [T, C] float16

and ``FILE.json`` beside it describes its origin. Only the loss imports Paddle.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convbert.training.tasks import Task
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write, write_json
from paddlenlp.utils.products import sha256

KEY_BYTES = 8
MANIFEST = ".json"  # after the name of the file
SHOWN_CHARACTERS = 60


def text_keys(texts: Sequence[Text]) -> np.ndarray:
    """Keys of texts or pairs, without leading and trailing spaces, [T] uint64."""
    keys = []
    for text in texts:
        parts = (text,) if isinstance(text, str) else text
        joined = "\t".join(part.strip() for part in parts)
        digest = hashlib.sha256(joined.encode("utf-8", "surrogatepass")).digest()
        keys.append(int.from_bytes(digest[:KEY_BYTES], "little"))
    return np.array(keys, dtype=np.uint64)


def write_teacher_logits(
    path: PathLike, texts: Sequence[Text], logits: np.ndarray, made_from: dict
) -> None:
    """Write the logits [T, C] of texts and the manifest; for equal texts the first row counts.

    Args:
        path: the ``.npz`` file.
        texts: T texts or pairs.
        logits: [T, C] float; stored in half precision.
        made_from: origin, for the manifest, in addition to counts and checksum.
    """
    keys, first = np.unique(text_keys(texts), return_index=True)
    with atomic_write(path, "wb") as file:
        np.savez(file, keys=keys, logits=logits[first].astype(np.float16))
    counts = {"texts": len(keys), "classes": logits.shape[1], "sha256": sha256(path)}
    write_json(f"{path}{MANIFEST}", {**counts, **made_from})


def read_teacher_logits(path: PathLike, texts: Sequence[Text], task: Task) -> np.ndarray:
    """Return the logits of texts or pairs, [T, C] float32, in their order.

    Raises:
        UserError: the file is missing, is not what its manifest describes, is of a task with
            another number of classes, or has no logits for a text (shown).
    """
    if not Path(path).is_file():
        message = f"--teacher_logits {path} does not exist: correct the path"
        raise UserError("file-missing", message)
    if read_json(f"{path}{MANIFEST}").get("sha256") != sha256(path):
        raise UserError(
            "file-damaged", f"{path} does not match its manifest {path}{MANIFEST}: make both again"
        )
    with np.load(path, allow_pickle=False) as arrays:
        keys, logits = arrays["keys"], arrays["logits"]
    classes = logits.shape[1]
    if task.regression or classes != task.num_classes:
        raise UserError(
            "data-set",
            f"--teacher_logits {path} has {classes} classes, task {task.name} has "
            f"{task.num_classes}: use a teacher of this task",
        )
    wanted = text_keys(texts)
    places = np.searchsorted(keys, wanted)
    found = keys[np.minimum(places, len(keys) - 1)] == wanted
    if not found.all():
        row = int(np.argmin(found))
        raise UserError(
            "data-set",
            f"{path} has no logits for {int((~found).sum())} of {len(texts)} texts, first row "
            f"{row + 1}, '{str(texts[row])[:SHOWN_CHARACTERS]}': make the file from this data",
        )
    return logits[places].astype(np.float32)


def soft_loss(logits, teacher_logits, temperature: float):
    """Mean divergence of the student's softened answers from the teacher's (arXiv 1503.02531).

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))`` of float logits [B, C], a scalar. The
    factor keeps the size of the gradient independent of the temperature T.
    """
    import paddle.nn.functional as F

    wanted = F.softmax(teacher_logits / temperature)
    given = F.log_softmax(logits / temperature)
    return F.kl_div(given, wanted, "batchmean") * temperature**2
