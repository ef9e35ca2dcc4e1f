"""Serve a converted ConvBERT over HTTP and gRPC with the Paddle Serving 0.9.0 pipeline.

Example:
    python deploy/serving_python/web_service.py --port 18080

It runs the HTTP front end and a supervisor, which starts this script a second time for the
pipeline. ``shell/serving.sh start`` does the same in the background.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import add_bool_flag, make_parser
from convbert.command.start import run_main
from convbert.serving import pipeline, require_packages

HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / "config.yml")
LOOPBACK = "127.0.0.1"


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__, heading="service")
    add = parser.add_argument
    add("--config", default=CONFIG, help="settings")
    overrides = "settings that override --config (default: none)"
    add("--opt", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=overrides)
    model = "default: convbert_server next to the config, or the bundled model"
    add("--model_dir", help=f"served model ({model})")
    add("--host", default=LOOPBACK, help="address of the HTTP front end")
    add("--port", type=int, help="port of the HTTP front end (default: http_port of the config)")
    add("--rpc_host", default=LOOPBACK, help="address of the gRPC server")
    add("--rpc_port", type=int, help="port of the gRPC server (default: rpc_port of the config)")
    add("--run_dir", default=str(HERE / "run"), help="folder for logs and state")
    add_bool_flag(parser, "--quiet", False, "log to --run_dir only")
    add("--parent", type=int, help=argparse.SUPPRESS)  # only the pipeline, for that supervisor
    return parser.parse_args(argv)


def read_settings(args: argparse.Namespace):
    """Return the `Settings` with the flags applied.

    The bundled model is used if the flags name no model and the default one does not exist.
    """
    from convbert.serving.config import load_settings

    ports = {"http_port": args.port, "rpc_port": args.rpc_port}
    flags = [f"{key}={port}" for key, port in ports.items() if port is not None]
    overrides = [*args.opt, *flags]
    settings = load_settings(args.config, overrides, args.model_dir, args.host, args.rpc_host)
    named = args.model_dir is not None or args.config != CONFIG
    if named or os.path.exists(settings.model_dir):
        return settings
    from convbert.serving.served_model import default_served

    return replace(settings, model_dir=default_served())


def main(argv=None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parse_args(argv)
    require_packages()
    if args.parent:
        pipeline.prepare()
    settings = read_settings(args)
    if args.parent:  # it has locked the run folder and set the environment
        from convbert.serving.pipeline.server import exit_with_parent, serve

        exit_with_parent(args.parent)
        serve(settings)  # does not return
    from convbert.serving.process.service import run_service
    from convbert.serving.process.service_dir import locked
    from convbert.serving.served_model import check_served

    check_served(settings.model_dir)
    with locked(args.run_dir) as run_dir:
        command = [sys.executable, str(Path(__file__).resolve()), *argv]
        command += ["--config", os.path.abspath(args.config), "--model_dir", settings.model_dir]
        command += ["--parent", str(os.getpid())]
        return run_service(settings, command, run_dir, args.quiet)


if __name__ == "__main__":
    run_main(main)
