"""Atomic writing: files and directories that appear only when they are complete."""

import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from paddlenlp.utils.errors import UserError

PathLike = str | os.PathLike[str]

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, the file-size limit
_OLD_S = 24 * 3600.0
UNFINISHED = ".tmp"  # the suffix of what is being written


def file_error(error: OSError) -> UserError:
    """Return the one-line error for a file that the system cannot open, read or write."""
    name = error.filename or "standard output"  # `naming` adds a missing name of a file
    if error.errno in FULL:
        reason = f"cannot write {name}: {error.strerror}"
        return UserError("not-writable", f"{reason}; free space, or write elsewhere")
    if isinstance(error, FileNotFoundError):
        return UserError("file-missing", f"{name} does not exist: correct the path")
    reason = f"cannot use {name}: {error.strerror}"
    return UserError("file-unreadable", f"{reason}; correct its permissions, or its path")


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
        message = f"cannot write to directory {directory}: {reason}; give a writable directory"
        raise UserError("not-writable", message) from None
    return directory


@contextmanager
def atomic_write(path: PathLike, mode: str = "w") -> Iterator[IO]:
    """Open a file whose content replaces ``path`` if the block succeeds.

    A missing directory is made, a link is followed, and a device or pipe is written directly. Mode
    "w" is UTF-8 text with newlines as written.
    """
    target = Path(os.path.realpath(path))
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    if target.is_dir():
        raise UserError("not-writable", f"{path} is a directory: name a file")
    if target.exists() and not target.is_file():  # never replace a device such as /dev/stdout
        with open(target, mode, **text) as file:
            yield file
    else:
        with atomic_path(target) as temporary, open(temporary, mode, **text) as file:
            yield file


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield the path of a file to write, which replaces ``path`` if the block succeeds."""
    target = Path(os.path.realpath(path))
    ensure_writable_dir(target.parent)
    with temporary_beside(target) as temporary:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)


@contextmanager
def exclusive(lock: PathLike, busy: str) -> Iterator[None]:
    """Lock a file for the block; its content is kept.

    Raises:
        UserError: another process has locked it; ``busy`` is the message.
    """
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("busy", busy) from None
        yield


def write_json(path: PathLike, content: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as file:
        file.write(json_text(content, indent=2) + "\n")


@contextmanager
def output_json(path: PathLike | None) -> Iterator[dict[str, Any]]:
    """Yield a dict to fill, which is written as JSON if the block succeeds; None: write nothing.

    It is checked before the block that the file can be written.
    """
    content: dict[str, Any] = {}
    with atomic_write(path) if path is not None else nullcontext() as file:
        yield content
        if file:
            file.write(json_text(content, indent=2) + "\n")


def json_text(content: Any, **options: Any) -> str:
    """Return JSON; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_without_nan(content), **options)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def atomic_directories(paths: Sequence[PathLike]) -> Iterator[list[Path]]:
    """Yield empty directories that replace ``paths`` if the block succeeds: all, or none.

    A reader sees an old directory or the new one, never a mixture: on Linux the two are exchanged
    in one step (renameat2). On other systems a path is missing for a moment between two renames.
    After an error or Ctrl-C the paths are unchanged. Only a kill between two exchanges can leave
    some of several directories new and some old.

    Raises:
        UserError: a path is a file, or its parent directory cannot be written.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for target in targets:
        if target.exists() and not target.is_dir():
            message = f"{target} is a file, but must become a directory: move the file away"
            raise UserError("not-writable", message)
        ensure_writable_dir(target.parent)
    with ExitStack() as stack:
        # The first one, which is the largest, is opened last, so that its name is reported for a
        # full disk.
        new = [stack.enter_context(temporary_beside(t, directory=True)) for t in reversed(targets)]
        new.reverse()
        yield new
        for temporary in new:
            for folder, _, names in os.walk(temporary):
                for name in (*names, "."):
                    _sync(Path(folder, name))
        with ExitStack() as undo:
            for temporary, target in zip(new, targets):
                _swap(temporary, target)
                undo.callback(_swap, temporary, target)
            undo.pop_all()


def file_hash(path: PathLike, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal; ``algorithm`` is a name in `hashlib`."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
    except Exception as error:
        number = getattr(error, "errno", None)
        with suppress(OSError):  # the folder was removed
            if not shutil.disk_usage(Path(path).parent).free:  # Paddle's errors do not say so
                number = errno.ENOSPC
        if number not in FULL:
            raise
        raise file_error(OSError(number, os.strerror(number), str(path))) from error


@contextmanager
def temporary_beside(target: Path, directory: bool = False) -> Iterator[Path]:
    """Yield a hidden file or directory beside ``target``, which is removed at the end.

    It is locked until then, so that `remove_unfinished` can tell it from the files of a killed
    process.
    """
    remove_unfinished(target)
    with ExitStack() as stack:
        while True:
            temporary = _hidden_name(target)
            stack.callback(_remove, temporary)
            temporary.mkdir() if directory else temporary.touch()
            try:
                descriptor = os.open(temporary, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (FileNotFoundError, BlockingIOError):
                continue  # another process has just removed it, or is about to
            except OSError:
                pass  # this file system has no locks
            if temporary.exists():
                break
        with naming(target):
            yield temporary


def remove_unfinished(path: PathLike) -> None:
    """Remove the temporary files of killed writers of ``path``.

    Files of another user and files that a running process has locked are kept. On a file system
    without locks (NFS has none for directories), files are removed only after a day.
    """
    target = Path(os.path.realpath(path))
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{UNFINISHED}"):
        with suppress(OSError), ExitStack() as stack:
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unused = True
            except BlockingIOError:
                unused = False
            except OSError:
                unused = time.time() - status.st_mtime > _OLD_S
            if unused and status.st_uid == os.getuid():
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _hidden_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}{UNFINISHED}")


def _swap(first: Path, second: Path) -> None:
    """Exchange two paths, of which one may be missing."""
    if not second.exists():
        os.rename(first, second)
    elif not first.exists():
        os.rename(second, first)
    elif not _exchange(first, second):
        kept = _hidden_name(second)
        os.rename(second, kept)
        try:
            os.rename(first, second)
        except BaseException:
            os.rename(kept, second)
            raise
        os.rename(kept, first)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False if the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:  # not Linux, a C library older than glibc 2.28, or musl
        return False
    status = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return status == 0


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a power cut after the rename loses no data."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
