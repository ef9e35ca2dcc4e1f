"""Compiled models on disk, so that later starts do not compile the program again.

The name of an entry is a hash of the model's files and of everything else that the compilation
depends on, so it is never out of date. Entries are written atomically, with a checksum at the end,
and removing one does not affect a process that has it mapped, so any number of processes may share
the folder. If the folder is not writable, the cache is only read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write

# Above this size the least recently used entries are removed. A compiled convbert-base has 440 MB.
MAX_BYTES = 2 << 30
_SUFFIX = ".blob"
_CHECKSUM_BYTES = 4


def cache_folder() -> Path:
    """The folder of all entries, below ``$XDG_CACHE_HOME`` (default: ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "convbert-prod" / "openvino"


def entry_of(digests: Iterable[str], *facts: str) -> Path:
    """Return the path of an entry, which may not exist yet.

    Args:
        digests: SHA-256 of the model's files.
        facts: other facts that the compilation depends on: version, processor, precision.
    """
    name = hashlib.sha256(repr((*facts, *digests)).encode()).hexdigest()
    return cache_folder() / (name + _SUFFIX)


def touch(entry: Path) -> None:
    """Mark an entry as used now."""
    with suppress(OSError):  # a read-only folder
        os.utime(entry)


def checked(entry: mmap.mmap) -> np.ndarray:
    """Return the content of a mapped entry, as bytes.

    OpenVINO does not notice a flipped bit, which would change the answers.

    Raises:
        ValueError: it differs from its checksum.
    """
    data = np.frombuffer(entry, np.uint8)
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if checksum.tobytes() != _checksum(content):
        raise ValueError("the entry is damaged")
    return content


def _checksum(content: bytes | memoryview | np.ndarray) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")


def store(entry: Path, content: bytes | memoryview) -> bool:
    """Write an entry and remove the oldest ones; return False if it cannot be written."""
    try:
        with atomic_write(entry, "wb") as file:
            file.write(content)
            file.write(_checksum(content))
    except (OSError, UserError):
        return False
    _remove_oldest(keep=entry)
    return True


def _remove_oldest(keep: Path) -> None:
    entries = []
    for path in keep.parent.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # another process removes old entries too
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MAX_BYTES:
            return
        if path != keep:
            total -= size
            with suppress(OSError):
                path.unlink()
