"""Sentences a second that the tokenizer encodes, on the phrases of SST-2.

    python benchmarks/bench_tokenizer.py --data_dir DIR --vocab_file FILE

Text to ids, special tokens and token types, as training and inference ask for them. The first pass
over the data meets every word for the first time, as a training run does; later ones do not.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine
from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from paddlenlp.utils.files import write_json

BOUND = 100_000  # sentences a second


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data_dir", required=True, help="folder of SST-2 with train.tsv")
    add("--vocab_file", required=True, help="one word a line")
    add("--batch_sizes", nargs="+", type=int_at_least(1), default=[64, 1024])
    add("--max_seq_len", type=int_at_least(3), default=128, help="(%(default)s)")
    add("--rounds", type=int_at_least(1), default=5, help="passes over the data (%(default)s)")
    add("--output", default=str(ROOT / "benchmarks/results/tokenizer.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Time all passes, print a table; 1 if the slowest median is below the bound."""
    args = parse_args(argv)
    from paddlenlp.datasets import load_dataset

    (train,) = load_dataset("glue", "sst-2", splits=["train"], data_dir=args.data_dir)
    texts = [example["sentence"] for example in train]
    rows = []
    print(f"{len(texts)} sentences; sentences a second, medians of {args.rounds}")
    print("| batch | first pass | later passes |\n|---|---|---|")
    for size in args.batch_sizes:
        rates = [rate(args, texts, size) for _ in range(args.rounds)]
        rows.append({"batch_size": size, **{k: [r[k] for r in rates] for k in rates[0]}})
        first, later = (statistics.median(rows[-1][key]) for key in ("first", "later"))
        print(f"| {size} | {first:,.0f} | {later:,.0f} |")
    write_json(args.output, {**machine(), "sentences": len(texts), "bound": BOUND, "rows": rows})
    return int(min(statistics.median(row["first"]) for row in rows) < BOUND)


def rate(args, texts: list[str], batch_size: int) -> dict[str, float]:
    """Sentences a second of a fresh tokenizer: in its first pass and in the one after."""
    from paddlenlp.transformers import ConvBertTokenizer

    tokenizer, rates = ConvBertTokenizer(args.vocab_file), {}
    for name in ("first", "later"):
        start = time.perf_counter()
        for at in range(0, len(texts), batch_size):
            tokenizer.batch_encode(texts[at : at + batch_size], args.max_seq_len)
        rates[name] = round(len(texts) / (time.perf_counter() - start))
    return rates


if __name__ == "__main__":
    run_main(main)
