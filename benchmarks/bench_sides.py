"""Comparisons with other implementations: latency, files of sentences, training steps.

    python benchmarks/bench_sides.py inference|file|training [flags]

run.sh does the same after making the environments. `bench_sides.py COMMAND --help` lists the flags
of a command.
"""

import inspect
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.ours import ENGINES, MODELS
from benchmarks.report_inference import BF16, FLOAT, INT8, LABELS, write_report
from benchmarks.sides import Side, all_versions, command, logit_differences
from benchmarks.tables import RESULTS, shape_name, table, write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import default_threads
from convbert.command.provenance import processor, provenance
from convbert.command.start import run_main, run_step
from convbert.inference.classify import classify
from convbert.text.processing import PAD_MULTIPLE, TextProcessor
from convbert.text.reading import Row
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json

SHAPES = ((1, 16), (1, 32), (1, 128), (1, 512), (8, 32), (8, 128), (32, 32))
REFERENCE = "torch"
PEERS = (REFERENCE, "torch_compile", "onnxruntime", "openvino_peer")
PRODUCTS = ("products_torch", "products_onednn")  # no logits; the faster of the two counts
SIDES = [
    name
    for name in (*ENGINES, *PEERS, *PRODUCTS)
    if name != BF16 or processor()["features"]["bf16"]
]
# Up to this many tokens a turn has several runs, of which the first is not counted; above, one run.
SHORT_TOKENS, SHORT_RUNS = 256, 4


def inference(argv) -> None:
    """Latency of the exported ConvBERT compared with its peers and with the machine's limit.

        bash benchmarks/run.sh inference                          convbert-base, all shapes
        bash benchmarks/run.sh inference --model tiny --rounds 1  a trial run

    Every side is a separate process with the same weights. At each shape the logits of all sides
    are compared with those of transformers on PyTorch before any is timed; then the sides take
    turns, round by round. The result file is written after each shape; then the table and the plot
    are made from it.
    """
    parser = make_parser(inspect.getdoc(inference))
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-base", help="size")
    add("--rounds", type=int_at_least(1), default=7, help="turns of each side")
    add("--shapes", nargs="+", type=shape, default=SHAPES, metavar="BxL", help="(default: all)")
    add("--sides", nargs="+", choices=SIDES, default=SIDES, help="(default: all)")
    add("--output", help="JSON file (default: results/inference-MODEL.json here)")
    args = parser.parse_args(argv)
    output = args.output or RESULTS / f"inference-{args.model}.json"
    words = ConvBertConfig(**MODELS[args.model]).vocab_size
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = open_sides(stack, work, args.model, [REFERENCE, *args.sides])
        record = {**provenance(**all_versions(sides)), "model": args.model, "rounds": args.rounds}
        rows = []
        for batch, length in args.shapes:
            rows.append(latency(sides, (batch, length), args.rounds, words))
            write_json(output, {**record, "rows": rows})
            print(json.dumps(rows[-1]["ms"]), flush=True)
    write_report(output)


def shape(text: str) -> tuple[int, int]:
    """Parse ``8x32`` into (batch, length)."""
    batch, length = text.split("x")
    return int(batch), int(length)


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


def latency(
    sides: dict[str, Side], shape: tuple[int, int], rounds: int, words: int
) -> dict[str, Any]:
    """Compare the answers at one shape, then time the sides in turns.

    The first round is not counted.

    Raises:
        UserError: the logits of a side differ from the reference.
    """
    ids = np.random.RandomState(0).randint(1, words, shape).tolist()
    answers = {name: side.ask(batches=[ids])["logits"] for name, side in sides.items()}
    logits = {name: answer for name, answer in answers.items() if name not in PRODUCTS}
    differences = logit_differences(logits, REFERENCE, set(logits) - {BF16, INT8})
    runs = SHORT_RUNS if shape[0] * shape[1] <= SHORT_TOKENS else 1
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side.ask(batches=[ids] * runs)["ms"]
            if number:
                times[name] += found[1:] if runs > 1 else found
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    products = [medians.pop(name) for name in PRODUCTS if name in medians]
    medians.update({"products": min(products)} if products else {})
    spread = {name: [min(values), max(values)] for name, values in times.items()}
    return {"shape": shape, "ms": medians, "range_ms": spread, "difference": differences}


LONGEST = 128  # tokens: 126 words and two special ones
TURN = 20  # batches
# side -> growth in MB, and peak minus the memory before, as a multiple of weights and activations;
# limits for convbert-base
MEMORY_BOUNDS = {"paddle": (20.0, 1.5), "openvino": (math.inf, 2.0)}
# torch.compile would compile each of several hundred shapes.
FILE_SIDES = [name for name in SIDES if name != "torch_compile" and name not in PRODUCTS]


def file(argv) -> int:
    """A file of 10,000 sentences: sentences per second and memory of every side.

        bash benchmarks/run.sh file                                           convbert-small
        bash benchmarks/run.sh file --model convbert-base --sentences 2000
        bash benchmarks/run.sh file --model tiny --sentences 500              a trial run
        python benchmarks/bench_sides.py file --sides paddle openvino     without the peers

    The sentences have 1 to 126 random words of the vocabulary of data/reviews. Every side gets the
    same batches as infer.py with --batch_size makes, and the sides take turns after some batches.
    Resident memory is read after each turn. The memory of our sides, minus the memory before they
    opened the program, is compared with the weights and the activations of the largest batch. The
    exit status is 1 if convbert-base exceeds a memory limit.
    """
    parser = make_parser(inspect.getdoc(file))
    add = parser.add_argument
    add("--model", choices=tuple(MODELS), default="convbert-small", help="size")
    add("--sentences", type=int_at_least(100), default=10000, help="number of sentences")
    add("--batch_size", type=int_at_least(1), default=32, help="sentences run together")
    add("--sides", nargs="+", choices=FILE_SIDES, default=FILE_SIDES, help="(default: all)")
    add("--output", help="JSON file (default: results/file-MODEL.json here)")
    args = parser.parse_args(argv)
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
    record = {**provenance(**all_versions(sides)), "model": args.model}
    record |= {"sentences": args.sentences, "batch_size": args.batch_size}
    record |= {"needed_mb": round(needed), "encoded_per_second": round(args.sentences / seconds)}
    record["rows"] = rows
    write_result(args.output or RESULTS / f"file-{args.model}.json", record, *file_page(record))
    return int(args.model == "convbert-base" and any(map(beyond_bounds, rows)))


def make_batches(sentences: int, batch_size: int) -> tuple[list[list[list[int]]], float]:
    """Return the ids [B, L] of the batches that infer.py makes from random sentences, and
    seconds."""
    from paddlenlp.transformers import ConvBertTokenizer

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
            row.update({key: found[key] for key in ("before_mb", "resident_mb", "peak_mb")})
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


def file_page(record: dict[str, Any]) -> tuple[str, str]:
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
    header = ("side", "sentences/s", "resident after the first turn, MB", "at the end", "peak")
    return title, table([*header, "(peak - before) / (weights and activations)"], lines)


def beyond_bounds(row: dict[str, Any]) -> bool:
    """Return whether the growth or the peak of a side's memory is too large."""
    growth, peak = MEMORY_BOUNDS.get(row["side"], (math.inf, math.inf))
    return row["resident_mb"] - row["early_mb"] > growth or row.get("peak_times", 0) > peak


# model -> the shapes (batch, length) to time
TRAINING_SHAPES = {
    "convbert-base": ((32, 32), (32, 128)),
    "two layers, hidden 128": ((64, 10), (64, 20), (64, 30)),
    "tiny": ((4, 10),),
}
# side -> its name in the table, its script and action
TRAINING_SIDES = {
    "paddle": ("ours", "ours.py", "train"),
    # without the operators of cpu_ops.py
    "paddle_operators": ("with Paddle's own operators", "ours.py", "train_plain"),
    "torch": ("torch eager", "peers.py", "train_torch"),
    "torch_compile": ("torch.compile", "peers.py", "train_torch_compile"),
}
WARM_STEPS = 2


def training(argv) -> None:
    """One CPU training step (forward, backward, AdamW) compared with transformers on PyTorch.

        bash benchmarks/run.sh training
        bash benchmarks/run.sh training --models tiny --rounds 1   a trial run

    All sides start from the same weights, get the same full-length batches and use dropout 0.1.
    First their logits without dropout must agree within 1e-5. Then the sides take turns. Every
    shape has new processes; at (32, 128) each needs up to 7 GB with convbert-base.
    """
    parser, others = make_parser(inspect.getdoc(training)), list(TRAINING_SIDES)[1:]
    add = parser.add_argument
    models = list(TRAINING_SHAPES)
    add("--models", nargs="+", choices=models, default=models[:2])
    add("--compare_with", nargs="+", choices=others, default=others, help="the other sides")
    add("--rounds", type=int_at_least(1), default=7, help="timed steps of each side")
    add("--output", default=str(RESULTS / "training.json"), help="JSON file")
    args = parser.parse_args(argv)
    rows, versions = [], {}
    for model in args.models:
        for shape in TRAINING_SHAPES[model]:
            with ExitStack() as stack:
                work = stack.enter_context(tempfile.TemporaryDirectory())
                run_step(command("ours.py", "prepare", work, model), stdout=sys.stderr)
                sides = {}
                for name in ("paddle", *args.compare_with):
                    _, script, action = TRAINING_SIDES[name]
                    sides[name] = stack.enter_context(Side(command(script, action, work)))
                found = steps(sides, shape, args.rounds, ConvBertConfig(**MODELS[model]))
            rows.append({"model": model, "shape": shape, **found})
            versions.update(all_versions(sides))
            record = {**provenance(**versions), "rounds": args.rounds, "rows": rows}
            write_result(args.output, record, training_table(rows))


def steps(
    sides: dict[str, Side], shape: tuple[int, int], rounds: int, config: ConvBertConfig
) -> dict[str, Any]:
    """Compare the logits, then time the sides in turns step by step, without the first steps.

    Raises:
        UserError: the logits of the sides differ.
    """
    generator = np.random.RandomState(0)
    # No padding, because it would affect the convolutions of the peers.
    ids = generator.randint(5, config.vocab_size, shape).tolist()
    batch = {"ids": ids, "labels": generator.randint(0, 2, shape[0]).tolist()}
    logits = {name: side.ask(train=False, **batch)["logits"] for name, side in sides.items()}
    differences = logit_differences(logits, "paddle", list(sides))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(WARM_STEPS + rounds):
        for name, side in sides.items():
            times[name].append(side.ask(train=True, **batch)["ms"])
    medians = {name: statistics.median(found[WARM_STEPS:]) for name, found in times.items()}
    ms = {name: round(median, 1) for name, median in medians.items()}
    return {"difference": max(differences.values()), "ms": ms}


def training_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown; a ratio below 1 means that our step is faster."""
    lines = []
    for row in rows:
        ms, difference = row["ms"], f"{row['difference']:.0e}"
        times = [f"{ms[name]:.1f}" if name in ms else "" for name in TRAINING_SIDES]
        peers = ("torch", "torch_compile")
        ratios = [f"{ms['paddle'] / ms[name]:.2f}" if name in ms else "" for name in peers]
        lines.append([row["model"], shape_name(row["shape"]), *times, *ratios, difference])
    names = [f"{label}, ms" for label, *_ in TRAINING_SIDES.values()]
    header = ["model", "batch x length", *names, "ours / eager", "ours / compile"]
    return table([*header, "logits differ by"], lines)


COMMANDS = {each.__name__: each for each in (inference, file, training)}


def main(argv) -> int | None:
    """Run one command."""
    if not argv or argv[0] not in COMMANDS:
        raise UserError("command-line", f"choose one of {', '.join(COMMANDS)}")
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    run_main(main)
