"""Serve a converted ConvBERT over HTTP and gRPC with the Paddle Serving 0.9.0 pipeline.

Without ``--pipeline_only`` this is the whole service: the HTTP front and a supervisor, which
starts this script a second time for the pipeline itself. ``shell/serving.sh start`` does the
same in the background.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import add_bool_flag, make_parser
from convbert.command.start import run_main
from convbert.serving import installed_packages
from paddlenlp.utils.errors import UserError

with installed_packages():
    from convbert.serving.convert import check_served
    from convbert.serving.paddle_serving import write_process_info_to
    from convbert.serving.pipeline import BatchingOp, MendedWebService
    from convbert.serving.requests import ErrNo, pack_predictions
    from convbert.serving.run_dir import RunDir
    from convbert.serving.runtime import LOOPBACK, die_with_parent, pipeline_environment
    from convbert.serving.service import Service
    from convbert.serving.settings import SERVICE_NAME, Settings, load_settings

HERE = Path(__file__).resolve().parent
OPT_HELP = "settings that win over --config"


class ConvBERTOp(BatchingOp):
    """Labels the texts of a request with the processing that training and infer.py use."""

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        """Return ``input_ids`` and ``token_type_ids`` [B, L] int64 for the texts of a request."""
        (request,) = input_dicts.values()
        if self.expired(request):
            return {}, False, int(ErrNo.TIMEOUT), "no answer in time"
        try:
            return self.engine.encode(request["texts"]), False, None, ""
        except UserError as error:
            return {}, False, int(ErrNo.BAD_REQUEST), str(error)

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        """Return the label ids and probabilities of logits [B, C], as text."""
        (logits,) = fetch_data.values()
        predictions = self.processor.decode(logits)
        packed = pack_predictions([p.label_id for p in predictions], [p.prob for p in predictions])
        return packed, None, ""


class ConvBERTService(MendedWebService):
    """The pipeline of one Op."""

    def get_pipeline_response(self, read_op):
        """Return the Op whose result is the answer."""
        return ConvBERTOp(self.settings, name=SERVICE_NAME, input_ops=[read_op])


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default=str(HERE / "config.yml"), help="settings (%(default)s)")
    add("--opt", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=OPT_HELP)
    add("--model_dir", help="served model (convbert_server beside the config)")
    add("--host", default=LOOPBACK, help="address of the HTTP front (%(default)s)")
    add("--port", type=int, help="port of the HTTP front (http_port of the config)")
    add("--rpc_host", default=LOOPBACK, help="address of the gRPC server (%(default)s)")
    add("--rpc_port", type=int, help="port of the gRPC server (rpc_port of the config)")
    add("--run_dir", default=str(HERE / "run"), help="folder for logs and state (%(default)s)")
    add_bool_flag(parser, "--quiet", False, "log to --run_dir only (%(default)s)")
    add_bool_flag(parser, "--pipeline_only", False, "gRPC alone, no supervisor (%(default)s)")
    add("--parent", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def read_settings(args: argparse.Namespace) -> Settings:
    """Return the settings with the flags applied."""
    overrides = list(args.opt)
    overrides += [f"http_port={args.port}"] if args.port is not None else []
    overrides += [f"rpc_port={args.rpc_port}"] if args.rpc_port is not None else []
    return load_settings(args.config, overrides, args.model_dir, args.host, args.rpc_host)


def run_pipeline(args: argparse.Namespace, settings: Settings) -> None:
    """Run the pipeline in this process, until it is told to stop."""
    if args.parent:
        die_with_parent(args.parent)
        serve(settings)
        return
    with RunDir(args.run_dir) as run_dir:
        threads = settings.op["local_service_conf"]["thread_num"]
        os.environ.update(pipeline_environment(run_dir.path, threads))
        write_process_info_to(run_dir.path)
        serve(settings)


def serve(settings: Settings) -> None:
    """Build the pipeline and run it."""
    service = ConvBERTService(settings)
    service.prepare_pipeline_config()
    service.run_service()


def run_everything(args: argparse.Namespace, settings: Settings, argv) -> int:
    """Run the front and, below it, the pipeline."""
    check_served(settings.model_dir)
    command = [sys.executable, str(Path(__file__).resolve()), *argv]
    command += ["--config", os.path.abspath(args.config), "--model_dir", settings.model_dir]
    command += ["--pipeline_only", "--parent", str(os.getpid())]
    with RunDir(args.run_dir) as run_dir:
        return Service(settings, command, run_dir, args.quiet).run()


def main(argv=None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parse_args(argv)
    settings = read_settings(args)
    if args.pipeline_only:
        run_pipeline(args, settings)
        return 0
    return run_everything(args, settings, argv)


if __name__ == "__main__":
    run_main(main)
