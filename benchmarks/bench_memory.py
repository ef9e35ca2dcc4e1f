"""Memory of inference over many sentences of every length: is it flat?

    python benchmarks/bench_memory.py                     convbert-small, 10,000 sentences
    python benchmarks/bench_memory.py --model convbert-base --sentences 2000

Random weights, random words of the embedded vocabulary, 1 to 126 of them a sentence, through the
code of infer.py. Resident memory is read every 500 sentences; exits 1 if it grows by more than the
bound from the 500th sentence to the last.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.cli import int_at_least, make_parser, run_main, set_cpu_environment
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.files import write_json

VOCABULARY = ROOT / "data" / "reviews" / "vocab.txt"
EVERY = 500


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size (%(default)s)")
    add("--sentences", type=int_at_least(2 * EVERY), default=10000, help="(%(default)s)")
    add("--batch_size", type=int_at_least(1), default=8, help="(%(default)s)")
    add("--bound_mb", type=int_at_least(1), default=20, help="allowed growth (%(default)s)")
    default = Path(__file__).resolve().parent / "results" / "memory.json"
    add("--output", default=str(default), help="JSON file (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run, print resident memory on the way, judge the growth."""
    args = parse_args(argv)
    set_cpu_environment()
    with tempfile.TemporaryDirectory() as folder:
        export_random(args.model, folder)
        readings = run(folder, args.sentences, args.batch_size)
    growth = readings[-1] - readings[0]
    print(f"after {EVERY}: {readings[0]:.0f} MB, after {args.sentences}: {readings[-1]:.0f} MB")
    print(f"largest {max(readings):.0f} MB; growth {growth:.0f} MB, bound {args.bound_mb} MB")
    record = {"model": args.model, "batch_size": args.batch_size, "every": EVERY}
    write_json(args.output, {**record, "resident_mb": [round(mb, 1) for mb in readings]})
    return int(growth > args.bound_mb)


def export_random(name: str, folder: str) -> None:
    """Export a random model of a published size over the embedded vocabulary."""
    import paddle

    from convbert.export import save_program
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


def run(folder: str, sentences: int, batch_size: int) -> List[float]:
    """Classify; return the resident MB after every `EVERY` sentences."""
    from convbert.classify import PAD_MULTIPLE, classify
    from convbert.predictor import Predictor
    from convbert.processing import TextProcessor

    processor = TextProcessor.from_dir(folder, pad_multiple=PAD_MULTIPLE)
    answers = classify(random_rows(sentences), processor, Predictor(folder).run, batch_size)
    readings = []
    for number, _ in enumerate(answers, start=1):
        if number % EVERY == 0:
            readings.append(resident_mb())
            print(f"{number} sentences: {readings[-1]:.0f} MB", flush=True)
    return readings


def random_rows(count: int) -> Iterator:
    """Yield sentences of 1 to 126 words in random order."""
    from convbert.classify import Row

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
