"""Where downloads are kept and where they come from. Nothing is created here."""

import os
from pathlib import Path

DEFAULT_HUB = "https://bj.bcebos.com"


def ppnlp_home() -> Path:
    """The cache directory: ``$PPNLP_HOME``, else ``~/.paddlenlp``."""
    return Path(os.environ.get("PPNLP_HOME") or "~/.paddlenlp").expanduser()


def dataset_home() -> Path:
    """Where downloaded data sets are kept."""
    return ppnlp_home() / "datasets"


def model_home() -> Path:
    """Where downloaded vocabularies and weights are kept."""
    return ppnlp_home() / "models"


def hub_url() -> str:
    """Base address of upstream's files; ``$PPNLP_HUB`` names a mirror with the same paths."""
    return (os.environ.get("PPNLP_HUB") or DEFAULT_HUB).rstrip("/")


def cpu_ops_enabled() -> bool:
    """Whether dygraph on a CPU uses the hand-written operators; ``PPNLP_CPU_OPS=0`` turns them off.

    See ``paddlenlp.transformers.convbert.cpu_ops``. Paddle's own then run: slower, for debugging or
    to exclude them as a cause.
    """
    return os.environ.get("PPNLP_CPU_OPS") != "0"
