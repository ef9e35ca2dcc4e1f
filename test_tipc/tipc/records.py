"""Fingerprints of inputs, and the recorded expectations in test_tipc/results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Dict, List, Optional

from paddlenlp.utils.errors import UserError
from tipc.slots import ROOT

RESULTS = ROOT / "test_tipc" / "results"
MANIFEST_FILE = "manifest.json"  # written by prepare.sh: {path below it: sha256}


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(directory: Path) -> Dict[str, str]:
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
        raise UserError(f"{directory} is empty: run prepare.sh again")
    total = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:12]
    manifest = _manifest_above(directory)
    if manifest is None:
        return f"sha256 {total}, not made by prepare.sh"
    known = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    base = directory.relative_to(manifest.parent).as_posix()
    for name, digest in hashes.items():
        if known.get(f"{base}/{name}") != digest:
            raise UserError(
                f"{directory / name} is not what prepare.sh wrote: run prepare.sh again"
            )
    return f"sha256 {total}, as prepare.sh made it"


def _manifest_above(directory: Path) -> Optional[Path]:
    for parent in directory.parents:
        if (parent / MANIFEST_FILE).is_file():
            return parent / MANIFEST_FILE
    return None


def arguments(model_name: str, key: str, texts: Optional[str], notes: List[str]) -> List[str]:
    """Flags that compare with the recorded answers, where there are some for these very texts.

    What cannot be compared is added to ``notes``, so that no one takes silence for agreement.
    """
    path = RESULTS / f"{model_name}_{key}.json"
    if texts is None or not path.is_file():
        note = f"no recorded expectation for {model_name}, {key}"
    elif not Path(ROOT, texts).is_file():
        raise UserError(f"no file {texts}: run prepare.sh first")
    elif json.loads(path.read_text(encoding="utf-8"))["input_sha256"] != sha256(Path(ROOT, texts)):
        note = f"{path.name} was recorded on other texts than {texts}: not compared"
    else:
        return ["--gt_file", path.relative_to(ROOT).as_posix()]
    if note not in notes:
        notes.append(note)
    return []
