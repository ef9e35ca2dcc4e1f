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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.ours import ENGINES, MODELS
from benchmarks.report_inference import BF16, INT8, write_report
from benchmarks.sides import Side, all_versions, command, logit_differences
from benchmarks.tables import RESULTS
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.provenance import processor, provenance
from convbert.command.start import run_main, run_step
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.files import write_json

SHAPES = ((1, 16), (1, 32), (1, 128), (1, 512), (8, 32), (8, 128), (32, 32))
REFERENCE = "torch"
PEERS = (REFERENCE, "torch_compile", "onnxruntime", "openvino_peer")
# No logits; the faster of the two counts.
PRODUCTS = ("products_torch", "products_onednn")
SIDES = (*ENGINES, *PEERS, *PRODUCTS)
# Up to this many tokens a turn has several runs, of which the first is not counted; above, one run.
SHORT_TOKENS, SHORT_RUNS = 256, 4


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-base", help="size (%(default)s)")
    add("--rounds", type=int_at_least(1), default=7, help="turns of each side (%(default)s)")
    add("--shapes", nargs="+", type=shape, default=SHAPES, metavar="BxL", help="(all of the table)")
    add("--sides", nargs="+", choices=SIDES, default=usable(SIDES), help="(all)")
    add("--output", help="JSON file (results/inference-MODEL.json beside this script)")
    return parser.parse_args(argv)


def usable(sides: tuple[str, ...]) -> list[str]:
    """Return the sides that this processor can compute."""
    return [name for name in sides if name != BF16 or processor()["features"]["bf16"]]


def shape(text: str) -> tuple[int, int]:
    """Parse ``8x32`` into (batch, length)."""
    batch, length = text.split("x")
    return int(batch), int(length)


def main(argv=None) -> None:
    """Prepare, compare, time in turns, write the results, the table and the plot."""
    args = parse_args(argv)
    output = args.output or RESULTS / f"inference-{args.model}.json"
    words = ConvBertConfig(**MODELS[args.model]).vocab_size
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = open_sides(stack, work, args.model, [REFERENCE, *args.sides])
        record = {**provenance(**all_versions(sides)), "model": args.model, "rounds": args.rounds}
        rows = []
        for batch, length in args.shapes:
            rows.append(measure(sides, (batch, length), args.rounds, words))
            write_json(output, {**record, "rows": rows})
            print(json.dumps(rows[-1]["ms"]), flush=True)
    write_report(output)


def open_sides(stack: ExitStack, work: Path, model: str, names: list[str]) -> dict[str, Side]:
    """Write weights and programs to a folder and start the sides, until the stack ends.

    Raises:
        UserError: the environment of a side is missing.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(default_threads()))
    scripts = {name: "ours.py" if name in ENGINES else "peers.py" for name in names}
    commands = {name: command(script, name, work) for name, script in scripts.items()}
    run_step(command("ours.py", "prepare", work, model), stdout=sys.stderr)
    for script in sorted(set(scripts.values())):
        run_step(command(script, "export", work), stdout=sys.stderr)
    return {name: stack.enter_context(Side(each)) for name, each in commands.items()}


def measure(
    sides: dict[str, Side], shape: tuple[int, int], rounds: int, words: int
) -> dict[str, Any]:
    """Compare the answers at one shape, then time the sides in turns.

    Raises:
        UserError: the logits of a side differ from the reference.
    """
    ids = np.random.RandomState(0).randint(1, words, shape).tolist()
    answers = {name: side.ask(batches=[ids])["logits"] for name, side in sides.items()}
    logits = {name: answer for name, answer in answers.items() if name not in PRODUCTS}
    differences = logit_differences(logits, REFERENCE, set(logits) - {BF16, INT8})
    times = time_in_turns(sides, ids, rounds, shape[0] * shape[1] <= SHORT_TOKENS)
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    products = [medians.pop(name) for name in PRODUCTS if name in medians]
    medians.update({"products": min(products)} if products else {})
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
