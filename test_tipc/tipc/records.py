"""Fingerprints of inputs, and the recorded expectations in test_tipc/results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from paddlenlp.utils.errors import UserError
from tipc import verdict
from tipc.slots import ROOT

RESULTS = ROOT / "test_tipc" / "results"
PREPARED = ROOT / "test_tipc" / "data"
MANIFEST_FILE = "manifest.json"  # written by prepare.sh: {path below it: sha256}


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(directory: Path) -> dict[str, str]:
    """``{path relative to directory: sha256}`` of all files below it, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}


def fingerprint(directory: Path) -> str:
    """One line that identifies a model directory: a hash over its files, and who made it.

    Raises:
        UserError: prepare.sh made it and a file was changed since.
    """
    hashes = file_hashes(directory)
    if not hashes:
        raise UserError("tipc", f"{directory} is empty: run prepare.sh again")
    total = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:12]
    if not _is_prepared(directory, hashes):
        return f"sha256 {total}, not made by prepare.sh"
    return f"sha256 {total}, as prepare.sh made it"


def check_inputs(words: Iterable[str], prepare: str) -> None:
    """Refuse a command that reads prepared files which are not there or were changed since.

    Args:
        words: of the command; those below test_tipc/data count, alone or as ``--flag=path``.
        prepare: the command that makes them.

    Raises:
        UserError: with the file and that command.
    """
    paths = {Path(ROOT, word.rpartition("=")[2]) for word in words}
    for path in sorted(path for path in paths if PREPARED in path.parents):
        if not path.exists():
            raise UserError("file-missing", f"no {path.relative_to(ROOT)}: run {prepare}")
        _is_prepared(path, file_hashes(path) if path.is_dir() else {"": sha256(path)})


def _is_prepared(path: Path, hashes: dict[str, str]) -> bool:
    """Whether a manifest above a file or directory lists it with these ``hashes``.

    Raises:
        UserError: it lists others.
    """
    folder = next((above for above in path.parents if (above / MANIFEST_FILE).is_file()), None)
    if folder is None:
        return False
    base = path.relative_to(folder)
    listing = read_manifest(folder / MANIFEST_FILE)["files"]
    known = {Path(name): digest for name, digest in listing.items()}
    listed = {name for name in known if name == base or base in name.parents}
    found = {base / name: digest for name, digest in hashes.items()}
    for name in sorted(listed | set(found)):
        if known.get(name) != found.get(name):
            raise UserError(
                "file-damaged",
                f"{folder / name} is not what prepare.sh wrote: run prepare.sh again",
            )
    return True


def read_manifest(path: Path) -> dict[str, dict[str, str]]:
    """Read what prepare.sh wrote: ``sources`` of the parts and ``files`` with their hashes.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"sources": dict(content["sources"]), "files": dict(content["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            "file-damaged", f"{path} is missing or damaged: run prepare.sh again"
        ) from None


def arguments(model_name: str, key: str, texts: str | None, notes: list[str]) -> list[str]:
    """Flags that compare with the recorded answers, where there are some for these very texts.

    What cannot be compared is added to ``notes``, so that no one takes silence for agreement.
    """
    path = RESULTS / f"{model_name}_{key}.json"
    if texts is None or not path.is_file():
        note = f"no recorded expectation for {model_name}, {key}"
    elif not Path(ROOT, texts).is_file():
        raise UserError("file-missing", f"no file {texts}: run prepare.sh first")
    elif verdict.read_record(str(path))["input_sha256"] != sha256(Path(ROOT, texts)):
        note = f"{path.name} was recorded on other texts than {texts}: not compared"
    else:
        return ["--gt_file", path.relative_to(ROOT).as_posix()]
    if note not in notes:
        notes.append(note)
    return []
