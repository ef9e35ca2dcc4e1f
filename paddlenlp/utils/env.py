"""Environment variables: where downloads are stored and where they come from."""

import os
from pathlib import Path

DEFAULT_HUB = "https://bj.bcebos.com"


def ppnlp_home() -> Path:
    """The cache directory: ``$PPNLP_HOME``, by default ``~/.paddlenlp``."""
    return Path(os.environ.get("PPNLP_HOME") or "~/.paddlenlp").expanduser()


def dataset_home() -> Path:
    """The directory of downloaded data sets."""
    return ppnlp_home() / "datasets"


def model_home() -> Path:
    """The directory of downloaded vocabularies and weights."""
    return ppnlp_home() / "models"


def hub_url() -> str:
    """Base address of upstream's files; ``$PPNLP_HUB`` names a mirror with the same paths."""
    return (os.environ.get("PPNLP_HUB") or DEFAULT_HUB).rstrip("/")


def cpu_ops_enabled() -> bool:
    """Whether dygraph on a CPU uses the hand-written operators; ``PPNLP_CPU_OPS=0`` turns them off.

    See ``paddlenlp.transformers.convbert.cpu_ops``. Paddle's own operators are slower, but help to
    find out whether ours are the cause of a problem.
    """
    return os.environ.get("PPNLP_CPU_OPS") != "0"
