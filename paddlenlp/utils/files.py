"""Files and directories that appear whole or not at all."""

import ctypes
import glob
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from paddlenlp.utils.errors import UserError

PathLike = str | os.PathLike[str]

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h


def ensure_writable_dir(path: PathLike) -> Path:
    """Make the directory ``path`` (with its parents) and check that a file can be made in it.

    Raises:
        UserError: it is a file, or the system refuses to make it or to write in it.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = _beside(directory / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            "not-writable",
            f"cannot write in directory {directory}: {reason}; name a directory you may write in",
        ) from None
    return directory


@contextmanager
def atomic_write(path: PathLike, mode: str = "w") -> Iterator[IO]:
    """Open a file whose content replaces ``path`` when the block ends well, else changes nothing.

    Args:
        path: the file to make or replace; its directory is made where missing. A link is followed;
            a device or pipe is written directly.
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
    temporary = _beside(target)
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield the path of a file to write, which replaces ``path`` when the block ends well."""
    target = Path(os.path.realpath(path))
    ensure_writable_dir(target.parent)
    temporary = _beside(target)
    try:
        yield temporary
        _sync(str(temporary))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: PathLike, content: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


@contextmanager
def output_json(path: PathLike | None) -> Iterator[dict[str, Any]]:
    """Yield a table to fill, which becomes a JSON file when the block ends well.

    Args:
        path: the file; that it can be written is checked before the block. None: write nothing.
    """
    content: dict[str, Any] = {}
    if path is None:
        yield content
        return
    with atomic_write(path) as file:
        yield content
        json.dump(content, file, indent=2)
        file.write("\n")


@contextmanager
def atomic_directory(path: PathLike) -> Iterator[Path]:
    """Yield an empty directory that takes the place of ``path`` when the block ends well.

    A reader sees the old directory or the new one, never a mixture: on Linux the two are exchanged
    in one step (renameat2). On other systems ``path`` is missing for a moment between two renames.
    On an error or Ctrl-C ``path`` is left as it was.

    Raises:
        UserError: it is a file, or nothing can be written beside it.
    """
    with atomic_directories([path]) as (temporary,):
        yield temporary


@contextmanager
def atomic_directories(paths: Sequence[PathLike]) -> Iterator[list[Path]]:
    """`atomic_directory` for several: all take their places when all are complete, or none does.

    Only a kill between two system calls can leave some new and some old.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for target in targets:
        if target.exists() and not target.is_dir():
            raise UserError(
                "not-writable",
                f"{target} is a file, a directory of that name is needed: move it away",
            )
        ensure_writable_dir(target.parent)
    new = [_beside(target) for target in targets]
    swapped: list[tuple[Path, Path]] = []
    try:
        for temporary in new:
            temporary.mkdir()
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
    finally:  # after a swap these are the old directories, else the unfinished new ones
        for temporary in new:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(path: PathLike) -> None:
    """Remove what killed writers of ``path`` left; no other process may be writing it."""
    target = Path(os.path.realpath(path))
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _beside(target: Path) -> Path:
    """Return an unused hidden name in the directory of ``target`` (so on its file system)."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")


def _swap_in(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; afterwards ``new`` is the old one, or is gone."""
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
    """Exchange two paths in one step; False where the system cannot."""
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
    """Flush a directory to the disk: after a power cut a rename must not outlive its data."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)


def _sync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # no directory handles on this system, or a file nobody may read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
