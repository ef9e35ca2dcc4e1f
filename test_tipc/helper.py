"""The Python side of the TIPC scripts; see ``common_func.sh``. Not meant to be called by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from tipc import plan_files, prepare, speed, summary, watch

COMMANDS: dict[str, Callable] = {
    "prepare": prepare.main,
    "plan": plan_files.main,
    "speed": speed.main,
    "summary": summary.main,
    "wait-ready": watch.wait_ready,
    "ports-free": watch.ports_free,
}


def main(argv=None) -> int:
    """Run one command."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser(__doc__)
    parser.add_argument("command", choices=list(COMMANDS))
    args = parser.parse_args(argv[:1])
    return COMMANDS[args.command](argv[1:])


if __name__ == "__main__":
    sys.argv[0] = os.environ.get("TIPC_SCRIPT", sys.argv[0])  # the name that errors start with
    run_main(main)
