"""Serve a converted ConvBERT over HTTP and gRPC with the Paddle Serving 0.9.0 pipeline.

Example:
    python deploy/serving_python/web_service.py --port 18080

Without ``--pipeline_only`` this is the whole service: the HTTP front end and a supervisor, which
starts this script a second time for the pipeline itself. ``shell/serving.sh start`` does the
same in the background.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import add_bool_flag, make_parser
from convbert.command.start import run_main
from convbert.serving import serving_packages

HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / "config.yml")
LOOPBACK = "127.0.0.1"


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__, heading="service")
    add = parser.add_argument
    add("--config", default=CONFIG, help="settings (%(default)s)")
    add(
        "--opt",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that override --config",
    )
    add(
        "--model_dir",
        help="served model (convbert_server beside the config; if that is missing, the bundled "
        "model)",
    )
    add("--host", default=LOOPBACK, help="address of the HTTP front end (%(default)s)")
    add("--port", type=int, help="port of the HTTP front end (http_port of the config)")
    add("--rpc_host", default=LOOPBACK, help="address of the gRPC server (%(default)s)")
    add("--rpc_port", type=int, help="port of the gRPC server (rpc_port of the config)")
    add("--run_dir", default=str(HERE / "run"), help="folder for logs and state (%(default)s)")
    add_bool_flag(parser, "--quiet", False, "log to --run_dir only (%(default)s)")
    add_bool_flag(parser, "--pipeline_only", False, "gRPC only, no supervisor (%(default)s)")
    add("--parent", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def read_settings(args: argparse.Namespace):
    """Return the `Settings` with the flags applied."""
    with serving_packages():
        import grpc  # noqa: F401 - a missing package is reported before a missing model

        from convbert.serving.config import load_settings

    overrides = list(args.opt)
    overrides += [f"http_port={args.port}"] if args.port is not None else []
    overrides += [f"rpc_port={args.rpc_port}"] if args.rpc_port is not None else []
    return load_settings(args.config, overrides, args.model_dir, args.host, args.rpc_host)


def with_model(args: argparse.Namespace, settings):
    """Use the bundled model if the flags name no model and the default one does not exist."""
    named = args.model_dir is not None or args.config != CONFIG
    if named or os.path.exists(settings.model_dir):
        return settings
    with serving_packages():
        from convbert.serving.served_model import default_served

    return replace(settings, model_dir=default_served())


def run_service(args: argparse.Namespace, settings, argv) -> int:
    """Run the HTTP front end and, supervised by it, the pipeline."""
    with serving_packages():
        from convbert.serving.process import service
        from convbert.serving.process.service_dir import RunDir
        from convbert.serving.served_model import check_served

    check_served(settings.model_dir)
    command = [sys.executable, str(Path(__file__).resolve()), *argv]
    command += ["--config", os.path.abspath(args.config), "--model_dir", settings.model_dir]
    command += ["--pipeline_only", "--parent", str(os.getpid()), "--opt", *settings.resolved()]
    with RunDir(args.run_dir) as run_dir:
        return service.run_service(settings, command, run_dir, args.quiet)


def run_pipeline(args: argparse.Namespace, settings) -> None:
    """Run the pipeline in this process until SIGTERM or SIGINT."""
    with serving_packages():
        from convbert.serving.process.service_dir import RunDir

    if args.parent:  # it has locked the run folder and set the environment
        serve_pipeline(settings, args.parent)
        return
    with RunDir(args.run_dir) as run_dir:
        os.environ.update(run_dir.pipeline_environment(settings.local["thread_num"]))
        serve_pipeline(settings)


def serve_pipeline(settings, parent: int | None = None) -> None:
    """Import Paddle Serving, whose imports read the environment, and serve."""
    with serving_packages():
        from convbert.serving.pipeline import paddle_serving

        paddle_serving.prepare()
        from convbert.serving.pipeline.server import exit_with_parent, serve
    if parent:
        exit_with_parent(parent)
    serve(settings)


def main(argv=None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parse_args(argv)
    settings = with_model(args, read_settings(args))
    if args.pipeline_only:
        run_pipeline(args, settings)
        return 0
    return run_service(args, settings, argv)


if __name__ == "__main__":
    run_main(main)
