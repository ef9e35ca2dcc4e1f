"""Compiled models on disk, so that later starts do not compile the program again.

The name of an entry is a hash of the model's files and of everything else that the compilation
depends on, so it is never out of date. Entries are written atomically, with a checksum at the end,
and removing one does not affect a process that has it mapped, so any number of processes may share
the folder. If the folder is not writable, the cache is only read.
"""

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


def entry_of(digests: Iterable[str], *facts: str) -> Path:
    """Return the path of an entry, below ``$XDG_CACHE_HOME`` (default: ``~/.cache``).

    Args:
        digests: SHA-256 of the model's files.
        facts: other facts that the compilation depends on: version, processor, precision.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(repr((*facts, *digests)).encode()).hexdigest()
    return Path(base) / "convbert-prod" / "openvino" / (name + _SUFFIX)


def load(entry: Path) -> tuple[mmap.mmap, np.ndarray]:
    """Map an entry and mark it as used now; return the mapping and the content in it, as bytes.

    Raises:
        OSError, ValueError: it does not exist, is empty, or differs from its checksum; OpenVINO
            would not notice a flipped bit, which changes the answers.
    """
    with open(entry, "rb") as file:
        # OpenVINO requires a writable buffer but does not write to it.
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    data = np.frombuffer(mapping, np.uint8)
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if checksum.tobytes() != _checksum(content):
        raise ValueError("the entry is damaged")
    with suppress(OSError):  # a read-only folder
        os.utime(entry)
    return mapping, content


def store(entry: Path, content: bytes | memoryview) -> bool:
    """Write an entry and remove the oldest ones; return False if it cannot be written."""
    try:
        with atomic_write(entry, "wb") as file:
            file.write(content)
            file.write(_checksum(content))
    except (OSError, UserError):
        return False
    found = []
    for path in entry.parent.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # another process removes old entries too
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total > MAX_BYTES and path != entry:
            total -= size
            with suppress(OSError):
                path.unlink()
    return True


def _checksum(content: bytes | memoryview | np.ndarray) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")
