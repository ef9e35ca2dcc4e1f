"""Output directories of commands (products): each has a manifest, and replaces only its own kind.

The manifest lists every file with its size and SHA-256, so that a reader detects a flipped bit or a
truncated file. Hashing costs about a second per gigabyte.
"""

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paddlenlp.utils.checkout import git
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_directories, file_hash, write_json
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.parsing import read_json_file

MANIFEST_FILE = "manifest.json"
# Files that a reader may open: beside a manifest they must be listed in it.
READABLE = (
    ".bin", ".json", ".onnx", ".pdiparams", ".pdmodel", ".pdparams", ".safetensors", ".txt", ".xml"
)  # fmt: skip


@contextmanager
def product_directory(
    path: PathLike,
    kind: str,
    inputs: Sequence[PathLike] = (),
    settings: dict[str, Any] | None = None,
) -> Iterator[Path]:
    """Yield an empty directory that becomes the product ``path`` if the block succeeds.

    Args:
        path: absent, empty, or an earlier product of the same kind without other files in it.
        kind: the kind of product, for example "exported model".
        inputs: directories that the command reads; ``path`` may not be or contain one of them.
        settings: stored in the manifest.

    Raises:
        UserError: ``path`` contains something else (named), or cannot be written.
    """
    with product_directories([(path, kind)], inputs, settings) as (work,):
        yield work


@contextmanager
def product_directories(
    products: Sequence[tuple[PathLike, str]],
    inputs: Sequence[PathLike] = (),
    settings: dict[str, Any] | None = None,
) -> Iterator[list[Path]]:
    """`product_directory` for several that belong together: all are written, or none is."""
    for path, kind in products:
        check_replaceable(path, kind, inputs)
    with atomic_directories([path for path, _ in products]) as folders:
        yield folders
        for work, (_, kind) in zip(folders, products):
            write_json(work / MANIFEST_FILE, _manifest(work, kind, sorted(_names(work)), settings))


def check_replaceable(path: PathLike, kind: str, inputs: Iterable[PathLike] = ()) -> None:
    """Check that a product of this kind may replace ``path``; see `product_directory`."""
    target = Path(os.path.realpath(path))
    for given in inputs:
        if Path(os.path.realpath(given)).is_relative_to(target):
            message = f"{path} is or contains the input {given}: give another output directory"
            raise UserError("occupied", message)
    if not target.is_dir() or not any(target.iterdir()):
        return
    manifest = read_manifest(target) or {"kind": "something else"}
    if manifest["kind"] != kind:
        found = f"{path} is not an earlier {kind} (found: {manifest['kind']})"
        raise UserError("occupied", f"{found}: give another directory, or remove it")
    foreign = sorted(_names(target) - set(manifest["files"]))
    if foreign:
        names = ", ".join(foreign[:3])
        raise UserError("occupied", f"{path} contains other files ({names}): move them away")


def verify(directory: PathLike) -> dict[str, str]:
    """Compare the files of a product with its manifest; log a warning if there is none.

    Returns:
        The SHA-256 of each file by its name; {} without a manifest.

    Raises:
        UserError: a file is missing, has changed, or is not listed.
    """
    folder = Path(directory)
    manifest = read_manifest(folder)
    if manifest is None:
        get_logger().warning("%s has no %s: its files are not checked", folder, MANIFEST_FILE)
        return {}
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            message = f"{file} is listed in {MANIFEST_FILE} but missing: write the product again"
            raise UserError("file-damaged", message)
        if not is_unchanged(file, expected):
            advice = f"write it again, or remove {MANIFEST_FILE} if the change is yours"
            raise UserError("file-damaged", f"{file} differs from {MANIFEST_FILE}: {advice}")
    known = {MANIFEST_FILE, *manifest["files"]}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in READABLE and file.name not in known:
            raise UserError("file-damaged", f"{file} is not listed in {MANIFEST_FILE}: remove it")
    return {name: expected["sha256"] for name, expected in manifest["files"].items()}


def add_to_manifest(directory: PathLike, kind: str, names: Iterable[str]) -> None:
    """Add files that were written one by one to the manifest; keep its other entries."""
    folder = Path(directory)
    manifest = read_manifest(folder) or {"kind": kind, "files": {}}
    new = _manifest(folder, manifest["kind"], names, manifest.get("settings"))
    files = {**manifest["files"], **new["files"]}
    write_json(folder / MANIFEST_FILE, {**new, "files": files})


def read_manifest(directory: PathLike) -> dict[str, Any] | None:
    """Return the manifest of a directory; None if there is none.

    Raises:
        OSError: it cannot be read.
        UserError: it is damaged.
    """
    path = Path(directory) / MANIFEST_FILE
    try:
        manifest = read_json_file(path)
        files = manifest["files"]
        valid = isinstance(manifest["kind"], str) and all(
            isinstance(entry["size"], int) and isinstance(entry["sha256"], str) and _inside(name)
            for name, entry in files.items()
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        valid = False
    if not valid:
        raise UserError("file-damaged", f"{path} is damaged: write the product again")
    return manifest


def is_unchanged(file: Path, expected: dict[str, Any]) -> bool:
    """Whether a file has the size and SHA-256 of its entry in a manifest."""
    return file.stat().st_size == expected["size"] and sha256(file) == expected["sha256"]


def sha256(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return file_hash(path, "sha256")


def _inside(name: str) -> bool:
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _names(folder: Path) -> set[str]:
    """All files below a folder, except the manifest."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)) for path in files} - {MANIFEST_FILE}


def _manifest(
    folder: Path, kind: str, names: Iterable[str], settings: dict[str, Any] | None
) -> dict[str, Any]:
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in names
    }
    paddle = sys.modules.get("paddle")
    made_by = {
        "commit": git("rev-parse", "HEAD"),
        "python": platform.python_version(),
        "paddle": getattr(paddle, "__version__", None),
    }
    return {"kind": kind, "made_by": made_by, "settings": settings or {}, "files": files}
