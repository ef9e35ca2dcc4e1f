"""Models by name: bundled with this repository, or published by upstream."""

import os
from pathlib import Path

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.download import fetch, file_lock
from paddlenlp.utils.env import hub_url, ppnlp_home
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.products import MANIFEST_FILE, add_to_manifest, is_unchanged, read_manifest

DEFAULT_MODEL = "convbert-mini-sst2"  # a classifier, used if no model is given
# Each is the checkpoint directory models/<name>.
BUNDLED_MODELS = (DEFAULT_MODEL, "convbert-mini")

# Each is the folder <hub>/paddlenlp/models/transformers/convbert/<name>.
PRETRAINED_MODELS = ("convbert-base", "convbert-medium-small", "convbert-small")
# Of the files of a published model. The largest has 106 million parameters and 30,522 words.
MAX_BYTES = {"model_state.pdparams": 1 << 30, "vocab.txt": 1 << 20}


def bundled_model(name: str = DEFAULT_MODEL) -> Path | None:
    """Return the directory of a bundled model; None if there is no such model in this checkout."""
    directory = ROOT / "models" / name
    return directory if name in BUNDLED_MODELS and directory.is_dir() else None


def local_model(name_or_dir: PathLike) -> Path | None:
    """Return the given checkpoint directory, or that of the bundled model of this name, or None.

    Raises:
        UserError: it is the folder of a training run, which contains the checkpoint.
    """
    directory = Path(name_or_dir)
    if (directory / "best.pdparams").is_dir():
        message = f"{directory} is the folder of a training run: give {directory / 'best.pdparams'}"
        raise UserError("checkpoint", message)
    return directory if directory.is_dir() else bundled_model(str(name_or_dir))


def pretrained_file(name: str, filename: str) -> Path:
    """Return the cached path of a file in `MAX_BYTES` of a published model, downloading it once.

    Raises:
        UserError: the name is unknown (the message lists the known ones), or the download failed.
    """
    found = [bundled for bundled in BUNDLED_MODELS if bundled_model(bundled)]
    if name not in PRETRAINED_MODELS:
        names = ", ".join([*found, *PRETRAINED_MODELS])
        message = (
            f"'{name}' is not a directory or a known model: give a directory or one of {names}"
        )
        raise UserError("model-name", message)
    path = ppnlp_home() / "models" / name / filename
    cached = path.is_file()
    fetch(
        f"{hub_url()}/paddlenlp/models/transformers/convbert/{name}/{filename}",
        path,
        hint=f"give a directory that contains {filename} with --model_name_or_path DIR, or the "
        f"name of a bundled model ({', '.join(found) or 'none found'})",
        max_bytes=MAX_BYTES[filename],
    )
    _check_pin(path, cached)
    return path


def _check_pin(path: Path, cached: bool) -> None:
    """Compare a file with the SHA-256 of its first download; upstream publishes no checksums.

    The checksums are in the manifest beside the file. A new download that differs is removed.
    """
    manifest = read_manifest(path.parent) or {"files": {}}
    pinned = manifest["files"].get(path.name)
    if pinned is None and os.access(path.parent, os.W_OK):
        with file_lock(path.parent / MANIFEST_FILE):
            add_to_manifest(path.parent, "published model", [path.name])
        message = "no checksum is published for %s: its SHA-256 was recorded in %s"
        get_logger().info(message, path, MANIFEST_FILE)
    elif pinned and not is_unchanged(path, pinned):
        if not cached:
            path.unlink()
        first = f"the first download, whose SHA-256 is in {MANIFEST_FILE}"
        advice = "delete both if upstream has changed the file"
        raise UserError("download", f"{path} differs from {first}: {advice}")
