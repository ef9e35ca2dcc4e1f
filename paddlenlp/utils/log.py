"""Logging in upstream's line format, on standard error."""

import logging
import sys
import threading
import traceback
from pathlib import Path

LINE_FORMAT = "[%(asctime)s] [%(levelname)8s] - %(message)s"
ROOT_NAME = "paddlenlp"
LONGEST_LINE = 240  # characters; a failed request logs up to four lines, in total less than 1 KB
_setup_lock = threading.Lock()


class _StderrHandler(logging.StreamHandler):
    """Writes to the current ``sys.stderr``, so that redirections work."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class BriefFormatter(logging.Formatter):
    """One line of at most `LONGEST_LINE` characters; of a traceback, the error and its place."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message, error = record.getMessage(), (record.exc_info or (None, None))[1]
        if error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
            message = f"{message[:100]}: {type(error).__name__}: {error}{where}"
        line = " ".join(message.split())
        cut = line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 4] + " ..."
        brief = {**record.__dict__, "msg": cut, "args": None, "exc_info": None, "exc_text": None}
        return super().format(logging.makeLogRecord(brief))


def get_logger(name: str = ROOT_NAME) -> logging.Logger:
    """Return a logger that prints ``[2026-01-31 14:00:00,123] [    INFO] - message``.

    A name other than "paddlenlp" gives a logger below it.
    """
    root = logging.getLogger(ROOT_NAME)
    with _setup_lock:
        if not root.handlers:
            handler = _StderrHandler()
            handler.setFormatter(logging.Formatter(LINE_FORMAT))
            root.addHandler(handler)
            root.setLevel(logging.INFO)
            root.propagate = False  # otherwise a configured root logger prints each line twice
    return root if name == ROOT_NAME else root.getChild(name)


def __getattr__(name: str):
    """Upstream's ``logger``, made at its first use."""
    if name == "logger":
        return get_logger()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
