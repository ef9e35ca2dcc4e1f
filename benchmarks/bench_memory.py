"""Memory of inference: is it flat over sentences of every length, and how high is its peak?

    python benchmarks/bench_memory.py                     convbert-small, 10,000 sentences
    python benchmarks/bench_memory.py --model convbert-base --sentences 2000

Random weights, random words of the embedded vocabulary, 1 to 126 of them a sentence, through the
code of infer.py. Resident memory is read every 500 sentences. The peak, less what the process held
before the program was opened, is compared with the weights and the activations of the largest
batch. Exits 1 if a bound is missed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import return_freed_memory, set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.utils.files import write_json

VOCABULARY = ROOT / "data" / "reviews" / "vocab.txt"
EVERY = 500
LONGEST = 128  # tokens: 126 words and two special ones
PEAK_BOUND = 1.5  # times weights and activations


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size (%(default)s)")
    add("--sentences", type=int_at_least(2 * EVERY), default=10000, help="(%(default)s)")
    add("--batch_size", type=int_at_least(1), default=8, help="(%(default)s)")
    add("--cache_shapes", type=int_at_least(0), help="oneDNN keeps so many (as infer.py)")
    add("--bound_mb", type=int_at_least(1), default=20, help="allowed growth (%(default)s)")
    default = Path(__file__).resolve().parent / "results" / "memory.json"
    add("--output", default=str(default), help="JSON file, a row for each run (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Export in a process of its own, run, print, judge the growth and the peak."""
    args = parse_args(argv)
    return_freed_memory()
    set_cpu_environment()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        export = context.Process(target=export_random, args=(args.model, folder))
        export.start()
        export.join()
        if export.exitcode:
            return export.exitcode
        row = run(folder, args)
    growth = row["resident_mb"][-1] - row["resident_mb"][0]
    needed = row["weights_mb"] + row["activations_mb"]
    ratio = (row["peak_mb"] - row["before_mb"]) / needed
    print(f"growth from sentence {EVERY} to the last: {growth:.0f} MB, at most {args.bound_mb} MB")
    print(
        f"peak {row['peak_mb']:.0f} MB, of which {row['before_mb']:.0f} MB before the program was "
        f"opened; weights {row['weights_mb']:.0f} MB, activations {row['activations_mb']:.0f} MB: "
        f"{ratio:.2f} times both, at most {PEAK_BOUND}"
    )
    row.update({"growth_mb": round(growth, 1), "peak_ratio": round(ratio, 2)})
    write_row(args.output, row)
    return int(growth > args.bound_mb or ratio > PEAK_BOUND)


def write_row(path: str, row: dict) -> None:
    """Add a row to the result, in place of one of the same settings."""
    file = Path(path)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    key = itemgetter("model", "batch_size", "cache_shapes")
    rows = [old for old in rows if key(old) != key(row)]
    write_json(path, {"every": EVERY, "rows": [*rows, row]})


def export_random(name: str, folder: str) -> None:
    """Export a random model of a published size over the embedded vocabulary."""
    import paddle

    from convbert.inference.export import save_program
    from paddlenlp.transformers import (
        ConvBertConfig,
        ConvBertForSequenceClassification,
        ConvBertTokenizer,
    )

    paddle.seed(0)
    tokenizer = ConvBertTokenizer(str(VOCABULARY))
    config = ConvBertConfig.preset(name, vocab_size=tokenizer.vocab_size)
    model = ConvBertForSequenceClassification(config)
    model.eval()
    save_program(model, f"{folder}/inference")
    tokenizer.save_pretrained(folder)
    model.save_config(folder)


def run(folder: str, args) -> dict:
    """Classify; return the resident MB after every `EVERY` sentences, the peak, and its parts."""
    import paddle  # noqa: F401  # counted before the program is opened

    from convbert.inference.classify import classify
    from convbert.inference.engines.paddle_inference import EngineOptions, Predictor
    from convbert.text.processing import PAD_MULTIPLE, TextProcessor

    options = EngineOptions(mkldnn_cache_capacity=args.cache_shapes)
    processor = TextProcessor.from_dir(folder, pad_multiple=PAD_MULTIPLE)
    before = resident_mb()
    run_batch = Predictor(folder, options).run
    answers = classify(random_rows(args.sentences), processor, run_batch, args.batch_size)
    readings, start = [], time.perf_counter()
    for number, _ in enumerate(answers, start=1):
        if number % EVERY == 0:
            readings.append(round(resident_mb(), 1))
            print(f"{number} sentences: {readings[-1]:.0f} MB", flush=True)
    config = ConvBertConfig.preset(args.model)
    return {
        **machine(),
        "model": args.model,
        "batch_size": args.batch_size,
        "cache_shapes": options.mkldnn_cache_capacity,
        "sentences_per_second": round(args.sentences / (time.perf_counter() - start), 1),
        "before_mb": round(before, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "weights_mb": round(Path(folder, "inference.pdiparams").stat().st_size / 1e6, 1),
        "activations_mb": round(activations_mb(config, args.batch_size, LONGEST), 1),
        "resident_mb": readings,
    }


def activations_mb(config, batch: int, length: int) -> float:
    """What one layer must hold at once at (batch, length), float32, in MB.

    The larger of the two halves: mixed attention (input, four projections, span keys, band, scores
    and their softmax, the mix) and the feed-forward part (input, inner layer before and after its
    activation, output).
    """
    hidden, heads = config.hidden_size, config.num_heads
    tokens, pairs = batch * length, batch * heads * length * length
    attention = tokens * (3 * hidden + 5 * heads * config.head_dim) + 3 * pairs
    feed_forward = tokens * (2 * hidden + 2 * config.intermediate_size)
    return max(attention, feed_forward) * 4 / 1e6


def random_rows(count: int) -> Iterator:
    """Yield sentences of 1 to 126 words in random order."""
    from convbert.text.reading import Row

    rng = random.Random(0)
    lines = VOCABULARY.read_text(encoding="utf-8").split("\n")
    words = [word for word in lines if word.isalpha()]
    for _ in range(count):
        yield Row(" ".join(rng.choices(words, k=rng.randint(1, 126))))


def resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    run_main(main)
