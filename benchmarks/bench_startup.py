"""Seconds from the start of infer.py to the end of its process after one answer.

    bash benchmarks/run.sh startup

Random weights of a published size with the embedded vocabulary.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.result_file import write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, start_paddle
from paddlenlp.transformers.convbert.configuration import PRESETS

BOUND_SECONDS = 3.0  # of convbert-small
VOCABULARY = ROOT / "data" / "reviews" / "vocab.txt"


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size (%(default)s)")
    add("--rounds", type=int_at_least(1), default=7, help="timed starts (%(default)s)")
    add("--output", default=str(ROOT / "benchmarks/results/startup.json"), help="JSON file")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Print and write the seconds of each start; 1 if their median is above the bound."""
    args = parse_args(argv)
    start_paddle()
    import paddle

    with tempfile.TemporaryDirectory() as folder:
        export_random(args.model, folder)
        seconds = [start(folder) for _ in range(args.rounds + 1)][1:]
    median = round(statistics.median(seconds), 2)
    record = {**provenance(paddle=paddle.__version__), "model": args.model}
    record.update(bound_seconds=BOUND_SECONDS, median=median, seconds=seconds)
    write_result(args.output, record, f"{args.model}: {median} s, at most {BOUND_SECONDS} s")
    return int(median > BOUND_SECONDS)


def export_random(name: str, folder: str) -> None:
    """Write an exported model of a published size, with random weights."""
    from convbert.inference.export import save_program
    from paddlenlp.transformers import (
        ConvBertConfig,
        ConvBertForSequenceClassification,
        ConvBertTokenizer,
    )

    tokenizer = ConvBertTokenizer(str(VOCABULARY))
    config = ConvBertConfig.preset(name, vocab_size=tokenizer.vocab_size)
    model = ConvBertForSequenceClassification(config)
    model.eval()
    save_program(model, f"{folder}/inference")
    tokenizer.save_pretrained(folder)
    model.save_config(folder)


def start(folder: str) -> float:
    """Return the seconds of one run of infer.py on its default sentence."""
    script = str(ROOT / "deploy" / "inference_python" / "infer.py")
    command = [sys.executable, script, "--model_dir", folder, "--output_npy", f"{folder}/a.npy"]
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    run_main(main)
