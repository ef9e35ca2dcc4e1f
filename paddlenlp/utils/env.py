"""Environment variables: where downloads are stored and where they come from."""

import os
from pathlib import Path

DEFAULT_HUB = "https://bj.bcebos.com"


def ppnlp_home() -> Path:
    """The folder of downloaded data sets and models: ``$PPNLP_HOME`` or ``~/.paddlenlp``."""
    return Path(os.environ.get("PPNLP_HOME") or "~/.paddlenlp").expanduser()


def hub_url() -> str:
    """Base address of upstream's files; ``$PPNLP_HUB`` names a mirror with the same paths."""
    return (os.environ.get("PPNLP_HUB") or DEFAULT_HUB).rstrip("/")


def cpu_ops_enabled() -> bool:
    """Whether dygraph on a CPU uses the hand-written operators; ``PPNLP_CPU_OPS=0`` turns them off.

    See ``paddlenlp.transformers.convbert.cpu_ops``. Paddle's own operators are slower, but help to
    find out whether ours are the cause of a problem.
    """
    return os.environ.get("PPNLP_CPU_OPS") != "0"
