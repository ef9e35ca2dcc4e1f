"""Logging in upstream's line format, on standard error."""

import logging
import sys
import threading

LINE_FORMAT = "[%(asctime)s] [%(levelname)8s] - %(message)s"
ROOT_NAME = "paddlenlp"
_setup_lock = threading.Lock()


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever ``sys.stderr`` is at that moment, so a redirection is honoured."""

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, _) -> None:
        pass


def get_logger(name: str = ROOT_NAME) -> logging.Logger:
    """Return a logger that prints ``[2026-01-31 14:00:00,123] [    INFO] - message``.

    Args:
        name: "paddlenlp" or a name below it; any other name is placed below it.
    """
    root = logging.getLogger(ROOT_NAME)
    with _setup_lock:
        if not root.handlers:
            handler = _StderrHandler()
            handler.setFormatter(logging.Formatter(LINE_FORMAT))
            root.addHandler(handler)
            root.setLevel(logging.INFO)
            root.propagate = False  # else a configured root logger prints each line twice
    below = name == ROOT_NAME or name.startswith(ROOT_NAME + ".")
    return logging.getLogger(name if below else f"{ROOT_NAME}.{name}")


def __getattr__(name: str):
    """Upstream's ``logger``, made at its first use."""
    if name == "logger":
        return get_logger()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
