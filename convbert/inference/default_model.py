"""The model that the commands use if none is given: the one bundled with this repository."""

import hashlib
import subprocess
import sys
from importlib.metadata import distributions

from convbert.command.start import run_step
from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.download import file_lock
from paddlenlp.utils.env import ppnlp_home
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir
from paddlenlp.utils.hub import DEFAULT_MODEL, bundled_model
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.products import MANIFEST_FILE, read_manifest, sha256

# The code that determines the products: the exported program, the served model.
_PRODUCT_CODE = (
    "convbert/inference/export.py",
    "convbert/serving/served_model.py",
    "paddlenlp/transformers/convbert/*.py",
)


def default_checkpoint() -> str:
    """Return the bundled classifier's directory.

    Raises:
        UserError: this checkout does not have it.
    """
    directory = bundled_model()
    if directory is None:
        raise UserError(
            "file-missing",
            f"no model given, and models/{DEFAULT_MODEL} is missing: give a directory, or restore "
            "it with git checkout models",
        )
    get_logger().info("no model given: using %s", directory)
    return str(directory)


def default_export() -> str:
    """Return the directory of the exported bundled classifier; the first call exports it.

    Raises:
        UserError: there is no bundled model, the cache cannot be written, or the export failed.
    """
    checkpoint = default_checkpoint()
    flags = ["--model_path", checkpoint, "--save_inference_dir"]
    return cached_product("exported", checkpoint, "tools/export_model.py", *flags)


def cached_product(kind: str, source: str, script: str, *flags: str) -> str:
    """Return the cached output of a script for a directory; run the script if there is none.

    It is cached below ``$PPNLP_HOME``; its name depends on the manifest of the source, on the code
    that makes it, and on Paddle's version. The script runs in a separate process, because not every
    caller may import Paddle.

    Args:
        kind: first part of the name in the cache.
        source: the directory that the script reads; it has a manifest.
        script: a script of this repository, which compares the source with its manifest.
        flags: its flags; the last one names the output directory, whose path is appended.

    Raises:
        UserError: as `default_export`, or another process holds the lock for too long.
    """
    manifest = read_manifest(source)
    if manifest is None:
        raise UserError("file-missing", f"{source} has no {MANIFEST_FILE}: write it again")
    code = [sha256(path) for pattern in _PRODUCT_CODE for path in sorted(ROOT.glob(pattern))]
    paddle = [*distributions(name="paddlepaddle"), *distributions(name="paddlepaddle-gpu")]
    version = paddle[0].version if paddle else "unknown"
    facts = (version, code, sorted(manifest["files"].items()))
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    cache = ppnlp_home() / "default_model"
    target = cache / f"{kind}-{digest}"
    if not target.is_dir():
        ensure_writable_dir(cache)
        with file_lock(target):
            if not target.is_dir():
                get_logger().info("preparing %s (only once)", target)
                command = [sys.executable, ROOT / script, *flags, target]
                run_step(command, stdout=subprocess.DEVNULL)
    return str(target)
