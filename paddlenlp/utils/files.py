"""Atomic writing: files and directories that appear only when they are complete."""

import ctypes
import errno
import glob
import json
import math
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from paddlenlp.utils.errors import UserError

PathLike = str | os.PathLike[str]

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, the file-size limit
_OLD_S = 24 * 3600.0
UNFINISHED = (".new", ".tmp")  # suffixes of what is being written, before and after it is locked


def ensure_writable_dir(path: PathLike) -> Path:
    """Make the directory ``path`` (with its parents) and check that it is writable.

    Raises:
        UserError: it is a file, or it cannot be made or written.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            "not-writable",
            f"cannot write to directory {directory}: {reason}; give a writable directory",
        ) from None
    return directory


@contextmanager
def atomic_write(path: PathLike, mode: str = "w") -> Iterator[IO]:
    """Open a file whose content replaces ``path`` if the block succeeds.

    Args:
        path: the file to make or replace; a missing directory is made. A link is followed; a device
            or pipe is written directly.
        mode: "w" (UTF-8 text, newlines as written) or "wb".
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got '{mode}'")
    target = Path(os.path.realpath(path))
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    if target.exists() and not target.is_file() and not target.is_dir():
        with open(target, mode, **text) as file:  # never replace a device such as /dev/stdout
            yield file
        return
    if target.is_dir():
        raise UserError("not-writable", f"{path} is a directory: name a file")
    ensure_writable_dir(target.parent)
    with _temporary(target) as temporary:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield the path of a file to write, which replaces ``path`` if the block succeeds."""
    target = Path(os.path.realpath(path))
    ensure_writable_dir(target.parent)
    with _temporary(target) as temporary:
        yield temporary
        _sync(str(temporary))
        os.replace(temporary, target)


def write_json(path: PathLike, content: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as file:
        file.write(json_text(content, indent=2) + "\n")


def json_text(content: Any, **options: Any) -> str:
    """Return JSON; NaN and infinity, which JSON does not have, become null."""
    try:
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(content), allow_nan=False, **options)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def output_json(path: PathLike | None) -> Iterator[dict[str, Any]]:
    """Yield a dict to fill, which is written as JSON if the block succeeds.

    Args:
        path: the file; it is checked before the block that it can be written. None: write nothing.
    """
    content: dict[str, Any] = {}
    if path is None:
        yield content
        return
    with atomic_write(path) as file:
        yield content
        file.write(json_text(content, indent=2) + "\n")


@contextmanager
def atomic_directory(path: PathLike) -> Iterator[Path]:
    """Yield an empty directory that replaces ``path`` if the block succeeds.

    A reader sees the old directory or the new one, never a mixture: on Linux the two are exchanged
    in one step (renameat2). On other systems ``path`` is missing for a moment between two renames.
    After an error or Ctrl-C ``path`` is unchanged.

    Raises:
        UserError: it is a file, or its parent directory cannot be written.
    """
    with atomic_directories([path]) as (temporary,):
        yield temporary


@contextmanager
def atomic_directories(paths: Sequence[PathLike]) -> Iterator[list[Path]]:
    """`atomic_directory` for several: all are replaced when all are complete, or none is.

    Only a kill between two system calls can leave some of them new and some old.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for target in targets:
        if target.exists() and not target.is_dir():
            raise UserError(
                "not-writable",
                f"{target} is a file, but must become a directory: move the file away",
            )
        ensure_writable_dir(target.parent)
    new: list[Path] = []
    swapped: list[tuple[Path, Path]] = []
    with ExitStack() as stack:
        # The first one, which is the largest, is opened last, so that its name is reported for a
        # full disk.
        for target in reversed(targets):
            new.insert(0, stack.enter_context(_temporary(target, directory=True)))
        try:
            yield new
            for temporary in new:
                _sync_tree(temporary)
            for temporary, target in zip(new, targets):
                _swap_in(temporary, target)
                swapped.append((temporary, target))
        except BaseException:
            for temporary, target in reversed(swapped):
                if temporary.exists():
                    _swap_in(temporary, target)
                else:
                    os.rename(target, temporary)
            raise


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Add ``path`` to the error of a full disk in the block; the system's error has no name.

    Raises:
        UserError: no space is left, or a quota or the file-size limit is reached.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # also Paddle's errors, which do not give the reason
        full = isinstance(error, OSError) and error.errno in FULL
        if full or _is_full(Path(path).parent):
            reason = os.strerror(error.errno if full else errno.ENOSPC)
            message = f"cannot write {path}: {reason}; free space, or write elsewhere"
            raise UserError("not-writable", message) from error
        raise


def _is_full(directory: Path) -> bool:
    try:
        return not shutil.disk_usage(directory).free
    except OSError:
        return False


@contextmanager
def _temporary(target: Path, directory: bool = False) -> Iterator[Path]:
    """Yield a hidden file or directory beside ``target``, which is removed at the end.

    It is locked until then, so that `remove_unfinished` can tell it from the files of a killed
    process.
    """
    remove_unfinished(target)
    new = _beside(target, ".new")
    temporary = new.with_suffix(".tmp")
    with ExitStack() as stack:
        for left in (temporary, new):  # after a swap, `temporary` is the old directory
            stack.callback(_remove, left)
        new.mkdir() if directory else new.touch()
        descriptor = os.open(new, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        _lock(descriptor)
        new.rename(temporary)
        with naming(target):
            yield temporary


def remove_unfinished(path: PathLike) -> None:
    """Remove the temporary files of killed writers of ``path``.

    Files of another user and files that a running process has locked are kept. Files that are not
    yet locked, and all files on a file system without locks, are removed only after a day.
    """
    target = Path(os.path.realpath(path))
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if left.suffix not in UNFINISHED:
            continue
        with suppress(OSError):  # removed by another process
            status = left.lstat()
            old = time.time() - status.st_mtime > _OLD_S
            if status.st_uid == os.getuid() and (old or left.suffix == ".tmp"):
                descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    if _lock(descriptor, otherwise=old):
                        _remove(left)
                finally:
                    os.close(descriptor)


def _lock(descriptor: int, otherwise: bool = True) -> bool:
    """Lock an open file for this process; return False if another process has locked it.

    Args:
        otherwise: the result if the file system has no locks.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(target: Path, suffix: str = ".tmp") -> Path:
    """Return an unused hidden name in the directory of ``target``, on the same file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}{suffix}")


def _swap_in(new: Path, target: Path) -> None:
    """Replace ``target`` with ``new``; afterwards ``new`` is the old one or does not exist."""
    if not target.exists():
        os.rename(new, target)
    elif not _exchange(new, target):
        old = _beside(target)
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise
        os.rename(old, new)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False if the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:  # a C library older than glibc 2.28, or musl
        return False
    status = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return status == 0


def _sync_tree(directory: Path) -> None:
    """Flush a directory to the disk, so that a power cut after the rename loses no data."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)


def _sync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # no directory handles on this system, or an unreadable file
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
