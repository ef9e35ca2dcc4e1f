"""A file of 10,000 sentences: sentences per second and memory of every side.

    bash benchmarks/run.sh file                                            convbert-small
    bash benchmarks/run.sh file --model convbert-base --sentences 2000
    bash benchmarks/run.sh file --model tiny --sentences 500               a trial run
    python benchmarks/bench_file.py --sides paddle openvino openvino_int8  without the peers

The sentences have 1 to 126 random words of the vocabulary of data/reviews. Every side gets the same
batches as infer.py with --batch_size makes, and the sides take turns of some batches. Resident
memory is read after each turn. The memory of our sides, minus the memory before they opened the
program, is compared with the weights and the activations of the largest batch.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.bench_inference import PEERS, open_sides, usable
from benchmarks.ours import ENGINES, MODELS
from benchmarks.report_inference import FLOAT, LABELS
from benchmarks.sides import Side, all_versions
from benchmarks.tables import RESULTS, table, write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main
from convbert.inference.classify import classify
from convbert.text.processing import PAD_MULTIPLE, TextProcessor
from convbert.text.reading import Row
from paddlenlp.transformers import ConvBertConfig, ConvBertTokenizer
from paddlenlp.utils.checkout import REVIEWS

LONGEST = 128  # tokens: 126 words and two special ones
TURN = 20  # batches
# side -> growth in MB, and peak minus the memory before, as a multiple of weights and activations;
# limits for convbert-base
BOUNDS = {"paddle": (20.0, 1.5), "openvino": (math.inf, 2.0)}
MEMORY = ("before_mb", "resident_mb", "peak_mb")
HEADER = ("side", "sentences/s", "resident after the first turn, MB", "at the end", "peak")
# torch.compile would compile each of several hundred shapes.
NAMES = [name for name in usable((*ENGINES, *PEERS)) if name != "torch_compile"]


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-small", help="size (%(default)s)")
    add("--sentences", type=int_at_least(100), default=10000, help="(%(default)s)")
    add("--batch_size", type=int_at_least(1), default=32, help="(%(default)s)")
    add("--sides", nargs="+", choices=NAMES, default=NAMES, help="(all)")
    add("--output", help="JSON file (results/file-MODEL.json beside this script)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Let the sides answer all batches in turns; return 1 if a memory limit is exceeded."""
    args = parse_args(argv)
    batches, seconds = make_batches(args.sentences, args.batch_size)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = open_sides(stack, work, args.model, args.sides)
        rows = answer_in_turns(sides, batches)
        weights = (work / "float" / "inference.pdiparams").stat().st_size / 1e6
    needed = weights + activations_mb(ConvBertConfig(**MODELS[args.model]), args.batch_size)
    for row in rows:
        row["sentences_per_second"] = round(args.sentences / row.pop("seconds"), 1)
        if row["side"] in FLOAT:
            row["peak_times"] = round((row["peak_mb"] - row["before_mb"]) / needed, 2)
    record = {
        **provenance(**all_versions(sides)),
        "model": args.model,
        "sentences": args.sentences,
        "batch_size": args.batch_size,
        "needed_mb": round(needed),
        "encoded_per_second": round(args.sentences / seconds),
        "rows": rows,
    }
    output = args.output or RESULTS / f"file-{args.model}.json"
    write_result(output, record, *page(record))
    return int(args.model == "convbert-base" and any(map(beyond_bounds, rows)))


def beyond_bounds(row: dict[str, Any]) -> bool:
    """Return whether the growth or the peak of a side's memory is too large."""
    growth, peak = BOUNDS.get(row["side"], (math.inf, math.inf))
    return row["resident_mb"] - row["early_mb"] > growth or row.get("peak_times", 0) > peak


def make_batches(sentences: int, batch_size: int) -> tuple[list[list[list[int]]], float]:
    """Return the ids [B, L] of the batches that infer.py makes from random sentences, and
    seconds."""
    words = (REVIEWS / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words, random_ = [word for word in words if word.isalpha()], random.Random(0)
    rows = [
        Row(" ".join(random_.choices(words, k=random_.randint(1, LONGEST - 2))))
        for _ in range(sentences)
    ]
    tokenizer = ConvBertTokenizer(str(REVIEWS / "vocab.txt"))
    processor, batches = TextProcessor(tokenizer, LONGEST, None, PAD_MULTIPLE), []

    def keep(ids, types):
        batches.append(ids)
        return np.zeros((len(ids), 2))

    start = time.perf_counter()
    for _ in classify(rows, processor, keep, batch_size):
        pass
    seconds = time.perf_counter() - start
    return [ids.tolist() for ids in batches], seconds


def answer_in_turns(sides: dict[str, Side], batches: list) -> list[dict[str, Any]]:
    """Return seconds and memory of every side after all batches."""
    rows = {name: {"side": name, "seconds": 0.0} for name in sides}
    for start in range(0, len(batches), TURN):
        for name, side in sides.items():
            found = side.ask(batches=batches[start : start + TURN])
            row = rows[name]
            row["seconds"] += sum(found["ms"]) / 1000
            row.setdefault("early_mb", found["resident_mb"])  # after the first turn
            row.update({key: found[key] for key in MEMORY})
        print(f"{min(start + TURN, len(batches))} of {len(batches)} batches", flush=True)
    return list(rows.values())


def activations_mb(config: ConvBertConfig, batch: int) -> float:
    """Return the memory of one layer's activations for a batch of the longest sentences, float32.

    This is the larger of two parts: mixed attention (input, four projections, span keys, band,
    scores and their softmax, output) and the feed-forward module (input, inner layer before and
    after its activation, output).
    """
    hidden, heads, tokens = config.hidden_size, config.num_heads, batch * LONGEST
    attention = tokens * (3 * hidden + 5 * heads * config.head_dim + 3 * heads * LONGEST)
    feed_forward = tokens * (2 * hidden + 2 * config.intermediate_size)
    return max(attention, feed_forward) * 4 / 1e6


def page(record: dict[str, Any]) -> tuple[str, str]:
    """Return the page of a result: a title and a table."""
    title = (
        f"{record['model']}, {record['sentences']} sentences in batches of "
        f"{record['batch_size']}; weights and activations: {record['needed_mb']} MB; text to ids: "
        f"{record['encoded_per_second']} sentences/s"
    )
    lines = []
    for row in record["rows"]:
        memory = [f"{row[key]:.0f}" for key in ("early_mb", "resident_mb", "peak_mb")]
        side = LABELS[row["side"]][0]
        lines.append([side, row["sentences_per_second"], *memory, row.get("peak_times", "")])
    return title, table([*HEADER, "(peak - before) / (weights and activations)"], lines)


if __name__ == "__main__":
    run_main(main)
