"""Latency of exported ConvBERT against its peers and the machine's limit, in turns, in one run.

    bash benchmarks/run.sh inference                          convbert-base, all shapes
    bash benchmarks/run.sh inference --model tiny --rounds 3  tries the command

Every side is a process of its own with the same weights. At each shape the logits of all sides are
compared with transformers' (1e-5) before any is timed; then they take turns, round by round. Shapes
are rows of one result file: a run replaces the rows that it measured.
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

from benchmarks.machine import machine
from benchmarks.report_inference import write_report
from benchmarks.sides import Side, run_step
from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

SHAPES = ((1, 32), (1, 128), (1, 512), (8, 32), (8, 128), (32, 32))
TOLERANCE = 1e-5
REFERENCE = "torch"
TINY = {  # tries the command
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "embedding_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 500,
}
MODELS = {**PRESETS, "tiny": TINY}
SETTINGS = (*TINY, "num_groups", "num_classes")  # what all sides spell alike or translate
# Up to this many tokens a turn is one run that is not timed, then three; above, one timed run.
SHORT_TOKENS = 256
GEMMS = "gemms_"  # prefix of the sides that multiply matrices and answer nothing
BEST_OF = ("gemms", "paddlenlp")  # sides of this prefix count as one: the fastest that is right

# side -> environment, script, what it runs on. PaddleNLP's program is opened both ways: a way that
# answers wrongly is reported and not timed.
OURS, TORCH, PADDLENLP = ".venv", ".venv-onnxruntime", ".venv-paddlenlp"
SIDES: dict[str, tuple[str, str, str]] = {
    "ours": (OURS, "infer_ours.py", "onednn"),
    "nine_slices": (OURS, "infer_ours.py", "nine_slices"),
    "nine_slices_as_ported": (OURS, "infer_ours.py", "nine_slices_as_ported"),
    "torch": (TORCH, "infer_torch.py", "eager"),
    "onnxruntime": (TORCH, "infer_torch.py", "onnxruntime"),
    "paddlenlp_plain": (PADDLENLP, "infer_paddlenlp.py", "plain"),
    "paddlenlp_onednn": (PADDLENLP, "infer_paddlenlp.py", "onednn"),
    "gemms_numpy": (TORCH, "gemms.py", "numpy"),
    "gemms_torch": (TORCH, "gemms.py", "torch"),
    "gemms_onednn": (TORCH, "gemms.py", "onednn"),
}
MAY_FAIL = ("paddlenlp_plain", "paddlenlp_onednn")
# What must be in the work folder first, and what writes it.
EXPORTS: dict[str, tuple[str, str, str]] = {
    "onnxruntime/model.onnx": (TORCH, "infer_torch.py", "export"),
    "paddlenlp/inference.pdmodel": (PADDLENLP, "infer_paddlenlp.py", "export"),
}


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-base", help="size (%(default)s)")
    add("--rounds", type=int_at_least(1), default=7, help="turns of each side (%(default)s)")
    add("--shapes", nargs="+", type=shape, default=SHAPES, metavar="BxL", help="(all of the table)")
    add("--sides", nargs="+", choices=tuple(SIDES), default=list(SIDES), help="(all)")
    add("--work_dir", type=Path, help="keep the exports here and use the peers' again")
    default = HERE / "results" / "inference.json"
    add("--output", default=str(default), help="JSON file (%(default)s)")
    return parser.parse_args(argv)


def shape(text: str) -> tuple[int, int]:
    """Parse ``8x32`` into (batch, length)."""
    batch, length = text.split("x")
    return int(batch), int(length)


def main(argv=None) -> None:
    """Export, compare, time in turns, write the results, the table and the plot."""
    args = parse_args(argv)
    config = ConvBertConfig(**MODELS[args.model])
    settings = json.dumps({key: getattr(config, key) for key in SETTINGS})
    with ExitStack() as stack:
        work = args.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = {REFERENCE: 0, **dict.fromkeys(args.sides, 0)}
        prepare(work, settings, names)
        sides = {name: open_side(stack, name, work, settings) for name in names}
        versions = {name: side.versions for name, side in sides.items()}
        record = {**machine(), "model": args.model, "rounds": args.rounds, "versions": versions}
        rows = kept_rows(args.output, record)
        for batch, length in args.shapes:
            row = measure(sides, batch, length, args.rounds, config.vocab_size)
            rows = [old for old in rows if old["shape"] != row["shape"]] + [row]
            rows.sort(key=lambda row: SHAPES.index(tuple(row["shape"])))
            write_json(args.output, {**record, "rows": rows})
            print(json.dumps({key: row[key] for key in ("shape", "ms", "wrong")}), flush=True)
    print(write_report(args.output))


def prepare(work: Path, settings: str, names) -> None:
    """Make the weights and programs; ours are made anew, the peers' only where missing."""
    work.mkdir(parents=True, exist_ok=True)
    run_step(command((OURS, "infer_ours.py", "prepare"), work, settings))
    for product, parts in EXPORTS.items():
        needed = any(name.startswith(product.split("/")[0]) for name in names)
        if needed and not (work / product).exists():
            run_step(command(parts, work, settings))


def command(side: tuple[str, str, str], work: Path, settings: str) -> list[str]:
    """The command line of a side or an export."""
    environment, script, action = side
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        raise UserError(
            "environment", f"{environment} is missing: bash benchmarks/run.sh inference makes it"
        )
    return [str(python), str(HERE / script), action, str(work), settings]


def open_side(stack: ExitStack, name: str, work: Path, settings: str) -> Side:
    """Start a side for as long as the stack lasts."""
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    return stack.enter_context(Side(command(SIDES[name], work, settings)))


def kept_rows(path: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier run of the same versions, model and machine, to be completed."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        old = json.load(file)
    return old["rows"] if all(old.get(key) == value for key, value in record.items()) else []


def measure(
    sides: dict[str, Side], batch: int, length: int, rounds: int, words: int
) -> dict[str, Any]:
    """Compare the answers at one shape, then time the sides in turns.

    Raises:
        UserError: a side that must be right is wrong.
    """
    ids = np.random.RandomState(0).randint(1, words, (batch, length)).tolist()
    answers = {name: answer(side, name, ids) for name, side in sides.items()}
    gigaflops = [answers.pop(name) for name in list(answers) if name.startswith(GEMMS)]
    wrong, differences = {}, {}
    for name, logits in answers.items():
        if isinstance(logits, str):
            wrong[name] = logits
            continue
        differences[name] = float(np.abs(np.subtract(logits, answers[REFERENCE])).max())
        if not differences[name] <= TOLERANCE:  # also catches nan
            wrong[name] = f"differs by {differences[name]:.1e}"
    for name in set(wrong) - set(MAY_FAIL):
        raise UserError(
            "outputs-differ", f"{name} {wrong[name]} at ({batch}, {length}): nothing was timed"
        )
    timed = {name: side for name, side in sides.items() if name not in wrong}
    all_ms = time_in_turns(timed, ids, rounds, batch * length <= SHORT_TOKENS)
    medians = {name: round(statistics.median(values), 2) for name, values in all_ms.items()}
    row = {"shape": [batch, length], "ms": medians, "difference": differences, "wrong": wrong}
    row["gigaflops"] = round(gigaflops[0], 2) if gigaflops else None
    row["all_ms"] = all_ms
    for group in BEST_OF:
        members = [value for name, value in medians.items() if name.startswith(group)]
        medians.update({group: min(members)} if members else {})
    return row


def answer(side: Side, name: str, ids: list[list[int]]):
    """The logits of a side; for one that may fail the words of its failure."""
    try:
        return side.ask(ids=ids, warm=0, runs=1)["logits"]
    except RuntimeError:
        if name in MAY_FAIL:
            return "does not run"
        raise


def time_in_turns(
    sides: dict[str, Side], ids: list[list[int]], rounds: int, short: bool
) -> dict[str, list[float]]:
    """All milliseconds of every side; one round before them warms up."""
    turn = {"warm": 1, "runs": 3} if short else {"warm": 0, "runs": 1}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side.ask(ids=ids, **turn)["ms"]
            if number:
                times[name] += [round(value, 2) for value in found]
    return times


if __name__ == "__main__":
    run_main(main)
