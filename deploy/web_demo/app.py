"""Web demo of a classifier: label, probability, and the effect of each word.

    bash shell/demo.sh
    bash shell/demo.sh --model_path convbert_base_outputs/best.pdparams
    bash shell/demo.sh --url http://127.0.0.1:18080/convbert/prediction

The page loads nothing from other hosts and has the same limits as the service.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError

WORKER = ROOT / "deploy" / "web_demo" / "worker.py"
# Flags of app.py and of worker.py. One of them names the model; the default is the bundled model.
MODEL_FLAGS = {
    "model_path": "checkpoint directory (default: the bundled model)",
    "model_dir": "exported directory (convbert_infer)",
    "url": "a running service instead of a model: labels and probabilities only",
}
LOOPBACK, PORT = "127.0.0.1", 7860
LARGEST_REQUEST = "4mb"  # like max_body_bytes in the service's config.yml


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add_model_flags(parser)
    add = parser.add_argument
    add("--host", default=LOOPBACK, help="address to listen on")
    add("--port", type=int_at_least(1, 65535), default=PORT, help="port")
    return parser.parse_args(argv)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the `MODEL_FLAGS`, of which only one may be given."""
    group = parser.add_mutually_exclusive_group()
    for name, help in MODEL_FLAGS.items():
        group.add_argument(f"--{name}", help=help)


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


class Model:
    """A checkpoint, an exported model or a running service, behind worker.py.

    Args:
        python: the interpreter that has Paddle.
        args: has the `MODEL_FLAGS`.
        limits: largest number of texts in a request, and of characters in a text.

    Raises:
        UserError: the model cannot be opened; the reason is printed above.

    Attributes:
        explains: whether texts can be explained.
        kernels: whether an explanation has a picture.
    """

    def __init__(self, python: Path, args: argparse.Namespace, limits: Sequence[int]):
        values = {name: getattr(args, name) for name in MODEL_FLAGS}
        flags = [f"--{name}={value}" for name, value in values.items() if value]
        self._limits = limits
        self._process = subprocess.Popen(
            [python, WORKER, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._lock = threading.Lock()
        ready = self._read()
        self.explains, self.kernels = ready["explains"], ready["kernels"]

    def ask(self, texts: Sequence[str], layer: int | None = None) -> dict[str, Any]:
        """Label each text, or explain the first one.

        Args:
            texts: the texts.
            layer: number from 1 of the layer in the picture; None: no explanation.

        Returns:
            "answers": the label and the probability of each text. With ``layer``: only those of the
            first text, "words", an HTML fragment, and for a checkpoint "picture", a PNG in base64.

        Raises:
            UserError: a text has no words, the limits are exceeded, or the service did not answer.
        """
        request = {"texts": texts, "layer": layer, "limits": self._limits}
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except OSError:
                pass  # the worker has exited: `_read` reports it
            answer = self._read()
        if "error" in answer:
            raise UserError("text", answer["error"])
        return answer

    def close(self) -> None:
        """End the worker."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise UserError("step-failed", f"{WORKER.name} exited: see the lines above")
        return json.loads(line)


if __name__ == "__main__":
    run_main(main)
