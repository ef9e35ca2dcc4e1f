"""A page to try sentences on: label, probability, and the effect of each word.

    bash shell/demo.sh
    bash shell/demo.sh --model_path convbert_base_outputs/best.pdparams
    bash shell/demo.sh --url http://127.0.0.1:18080/convbert/prediction

It listens on 127.0.0.1, loads nothing from other hosts, and has the limits of the service.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from deploy.web_demo.models import Model, add_model_flags
from paddlenlp.utils.errors import UserError

LOOPBACK, PORT = "127.0.0.1", 7860
LARGEST_REQUEST = "4mb"  # like max_body_bytes in the service's config.yml


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add_model_flags(parser)
    add = parser.add_argument
    add("--host", default=LOOPBACK, help="address to listen on (%(default)s)")
    add("--port", type=int_at_least(1, 65535), default=PORT, help="port (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Open the model and show the page until Ctrl-C or SIGTERM.

    Raises:
        UserError: Gradio is missing, the model cannot be opened, or the port is in use.
    """
    args = parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK]))
    try:
        from deploy.web_demo import page
    except ModuleNotFoundError:
        message = "the page needs Gradio, which has a separate environment: run shell/demo.sh"
        raise UserError("package-missing", message) from None
    python = ROOT / ".venv" / "bin" / "python"  # of the project, if it has an environment
    python = python if python.is_file() else Path(sys.executable)
    with closing(Model(python, args, page.LIMITS)) as model:
        blocks = page.build(model)
        try:
            blocks.launch(
                server_name=args.host,
                server_port=args.port,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                max_file_size=LARGEST_REQUEST,
                footer_links=[],
                css=page.CSS,
                theme=page.THEME,
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:
            address = f"{args.host}:{args.port}"
            message = f"cannot listen on {address}: {error}; choose another with --port"
            raise UserError("port", message) from None
        print(f"ready: http://{args.host}:{args.port}", flush=True)
        blocks.block_thread()


if __name__ == "__main__":
    run_main(main)
