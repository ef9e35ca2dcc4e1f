"""Latency of the exported ConvBERT compared with its peers and with the machine's limit.

    bash benchmarks/run.sh inference                          convbert-base, all shapes
    bash benchmarks/run.sh inference --model tiny --rounds 1  a trial run

Every side is a separate process with the same weights. At each shape the logits of all sides are
compared with those of transformers on PyTorch before any is timed; then the sides take turns, round
by round. The result file is written after each shape; then the table and the plot are made from it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.models import MODELS, TINY
from benchmarks.report_inference import write_report
from benchmarks.sides import Side
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.provenance import processor, provenance
from convbert.command.start import run_main, run_step
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

SHAPES = ((1, 16), (1, 32), (1, 128), (1, 512), (8, 32), (8, 128), (32, 32))
REFERENCE = "torch"
TOLERANCE = 1e-5
SETTINGS = (*TINY, "num_groups", "num_classes")  # the settings that the sides need
# Up to this many tokens a turn has several runs, of which the first is not counted; above, one run.
SHORT_TOKENS, SHORT_RUNS = 256, 4

# side -> environment, script, its argument
OURS, PEERS = ".venv", ".venv-peers"
SIDES: dict[str, tuple[str, str, str]] = {
    "paddle": (OURS, "infer_ours.py", "paddle"),
    "openvino": (OURS, "infer_ours.py", "openvino"),
    "openvino_bf16": (OURS, "infer_ours.py", "bf16"),
    "openvino_int8": (OURS, "infer_ours.py", "int8"),
    "torch": (PEERS, "infer_peers.py", "torch"),
    "torch_compile": (PEERS, "infer_peers.py", "compiled"),
    "onnxruntime": (PEERS, "infer_peers.py", "onnxruntime"),
    "openvino_peer": (PEERS, "infer_peers.py", "openvino"),
    "products_torch": (PEERS, "products.py", "torch"),
    "products_onednn": (PEERS, "products.py", "onednn"),
}
BF16, INT8 = "openvino_bf16", "openvino_int8"  # their logits differ
PRODUCTS = "products"  # prefix of the sides without logits; the faster of them counts


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-base", help="size (%(default)s)")
    add("--rounds", type=int_at_least(1), default=7, help="turns of each side (%(default)s)")
    add("--shapes", nargs="+", type=shape, default=SHAPES, metavar="BxL", help="(all of the table)")
    add("--sides", nargs="+", choices=tuple(SIDES), default=usable_sides(), help="(all)")
    add("--output", help="JSON file (results/inference-MODEL.json beside this script)")
    return parser.parse_args(argv)


def usable_sides() -> list[str]:
    """Return the sides that this processor can compute."""
    return [name for name in SIDES if name != BF16 or processor()["features"]["bf16"]]


def shape(text: str) -> tuple[int, int]:
    """Parse ``8x32`` into (batch, length)."""
    batch, length = text.split("x")
    return int(batch), int(length)


def main(argv=None) -> None:
    """Prepare, compare, time in turns, write the results, the table and the plot."""
    args = parse_args(argv)
    output = args.output or str(HERE / "results" / f"inference-{args.model}.json")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config, sides = open_sides(stack, work, args.model, [REFERENCE, *args.sides])
        versions = {n: v for side in sides.values() for n, v in side.versions.items()}
        record = {**provenance(**versions), "model": args.model, "rounds": args.rounds}
        rows = []
        for batch, length in args.shapes:
            rows.append(measure(sides, (batch, length), args.rounds, config.vocab_size))
            write_json(output, {**record, "rows": rows})
            print(json.dumps(rows[-1]["ms"]), flush=True)
    write_report(output)


def open_sides(
    stack: ExitStack, work: Path, model: str, names: list[str]
) -> tuple[ConvBertConfig, dict[str, Side]]:
    """Write weights and programs to a folder and start the sides, until the stack ends.

    Raises:
        UserError: the environment of a side is missing.
    """
    config = ConvBertConfig(**MODELS[model])
    settings = json.dumps({key: getattr(config, key) for key in SETTINGS})
    os.environ.setdefault("OMP_NUM_THREADS", str(default_threads()))
    run_step(command((OURS, "infer_ours.py", "prepare"), work, settings), stdout=sys.stderr)
    if any(SIDES[name][0] == PEERS for name in names):
        run_step(command((PEERS, "infer_peers.py", "export"), work, settings), stdout=sys.stderr)
    commands = {name: command(SIDES[name], work, settings) for name in names}
    return config, {name: stack.enter_context(Side(each)) for name, each in commands.items()}


def command(side: tuple[str, str, str], work: Path, settings: str) -> list[str]:
    """Return the command line of a side or of a preparation."""
    environment, script, action = side
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        raise UserError(
            "environment", f"{environment} is missing: bash benchmarks/run.sh inference makes it"
        )
    return [str(python), str(HERE / script), action, str(work), settings]


def measure(
    sides: dict[str, Side], shape: tuple[int, int], rounds: int, words: int
) -> dict[str, Any]:
    """Compare the answers at one shape, then time the sides in turns.

    Raises:
        UserError: the logits of a side differ from the reference.
    """
    ids = np.random.RandomState(0).randint(1, words, shape).tolist()
    answers = {name: side.ask(batches=[ids])["logits"] for name, side in sides.items()}
    differences = {
        name: float(np.abs(np.subtract(logits, answers[REFERENCE])).max())
        for name, logits in answers.items()
        if not name.startswith(PRODUCTS)
    }
    for name, difference in differences.items():
        if name not in (BF16, INT8) and not difference <= TOLERANCE:  # also catches nan
            raise UserError(
                "outputs-differ",
                f"the logits of {name} differ by {difference:.1e} at {shape}: nothing was timed",
            )
    times = time_in_turns(sides, ids, rounds, shape[0] * shape[1] <= SHORT_TOKENS)
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    products = [medians.pop(name) for name in list(medians) if name.startswith(PRODUCTS)]
    medians.update({PRODUCTS: min(products)} if products else {})
    spread = {name: [min(values), max(values)] for name, values in times.items()}
    return {"shape": shape, "ms": medians, "range_ms": spread, "difference": differences}


def time_in_turns(
    sides: dict[str, Side], ids: list[list[int]], rounds: int, short: bool
) -> dict[str, list[float]]:
    """Return all times of every side in ms; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side.ask(batches=[ids] * (SHORT_RUNS if short else 1))["ms"]
            if number:
                times[name] += found[1:] if short else found
    return times


if __name__ == "__main__":
    run_main(main)
