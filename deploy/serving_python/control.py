"""Start, stop or restart the service in the background, or report its state.

Example:
    python deploy/serving_python/control.py start --port 18080

``start`` and ``restart`` take the flags of web_service.py and return when the service is ready.
Exit status of ``status``: 0 ready, 1 not ready, 3 not running.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from convbert.serving.process import control

HERE = Path(__file__).resolve().parent
COMMANDS = ("start", "stop", "restart", "status")


def main(argv=None) -> int:
    """Run one command."""
    parser = make_parser(__doc__, heading="service")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--run_dir", default=str(HERE / "run"), help="folder for logs and state (%(default)s)"
    )
    args, rest = parser.parse_known_args(argv)
    if rest and args.command in ("stop", "status"):
        parser.error(f"{args.command} does not take {rest[0]}")
    if any(flag.partition("=")[0] == "--pipeline_only" for flag in rest):
        parser.error("--pipeline_only runs in the foreground: give it to web_service.py")
    if args.command == "status":
        return control.status(args.run_dir)
    if args.command in ("stop", "restart"):
        code = control.stop(args.run_dir)
        if args.command == "stop":
            return code
    flags = [*rest, "--run_dir", args.run_dir]
    return control.start(str(HERE / "web_service.py"), flags, args.run_dir)


if __name__ == "__main__":
    run_main(main)
