"""Files that prepare.sh made: their SHA-256 in a manifest, and whether they were changed since."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pooch import file_hash  # SHA-256, hexadecimal

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / "test_tipc" / "data"  # <model_name>/manifest.json lists the files beside it
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "model_state.pdparams"


def file_hashes(path: Path) -> dict[Path, str]:
    """``{file: sha256}`` of a file, or of all files below a directory."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file: file_hash(file) for file in files if file.is_file()}


def fingerprint(model: Path) -> str:
    """One line that identifies the content of a model directory and says who made it."""
    names = {file.relative_to(model).as_posix(): hash for file, hash in file_hashes(model).items()}
    total = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    origin = "made by prepare.sh" if PREPARED in model.parents else "not made by prepare.sh"
    return f"sha256 {total}, {origin}"


def changed_file(path: Path) -> Path | None:
    """The first file at or below ``path`` that is not as prepare.sh left it.

    None if there is none, or if ``path`` is not below `PREPARED`.

    Raises:
        UserError: the manifest is missing or damaged.
    """
    if PREPARED not in path.parents:
        return None
    folder = PREPARED / path.relative_to(PREPARED).parts[0]
    _, files = read_manifest(folder)
    known = {folder / name: digest for name, digest in files.items()}
    listed = {file for file in known if file == path or path in file.parents}
    found = file_hashes(path)
    different = (file for file in sorted(listed | set(found)) if known.get(file) != found.get(file))
    return next(different, None)


def write_manifest(folder: Path, sources: dict[str, str], files: dict[str, str]) -> None:
    """Write the manifest of a folder: where its parts come from, and ``{file: sha256}``."""
    write_json(folder / MANIFEST_FILE, {"sources": sources, "files": files})


def read_manifest(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read what `write_manifest` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content["sources"]), dict(content["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            "file-damaged", f"{path} is missing or damaged: run prepare.sh again"
        ) from None
