"""Seconds of a whole run of infer.py for one answer.

    bash benchmarks/run.sh startup

The model has a published size and random weights. The first start of each engine is not counted,
because it fills the cache of compiled models.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.ours import export, write_random
from benchmarks.tables import RESULTS, table, write_result
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, run_step, start_paddle
from paddlenlp.transformers.convbert.configuration import PRESETS

BOUNDS = {"paddle": 3.0, "openvino": 1.2}  # seconds, for convbert-small


def main(argv=None) -> int:
    """Start the engines in turns, write the medians; return 1 if one is above its limit."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", choices=tuple(PRESETS), default="convbert-small", help="size")
    add("--engines", nargs="+", choices=tuple(BOUNDS), default=list(BOUNDS), help="(default: all)")
    add("--rounds", type=int_at_least(1), default=7, help="timed starts")
    add("--output", default=str(RESULTS / "startup.json"), help="JSON file")
    args = parser.parse_args(argv)
    start_paddle()
    import paddle

    seconds = {engine: [] for engine in args.engines}
    with tempfile.TemporaryDirectory() as folder:
        write_random(args.model, Path(folder))
        export(Path(folder))
        for _ in range(args.rounds + 1):
            for engine in args.engines:
                seconds[engine].append(start(engine, folder))
    seconds = {engine: found[1:] for engine, found in seconds.items()}
    record = {**provenance(paddle=paddle.__version__), "model": args.model, "seconds": seconds}
    medians = {engine: statistics.median(found) for engine, found in seconds.items()}
    rows = [(engine, f"{median:.2f}", BOUNDS[engine]) for engine, median in medians.items()]
    header = ("engine", "median, s", "limit for convbert-small")
    write_result(args.output, record, args.model, table(header, rows))
    late = any(median > BOUNDS[engine] for engine, median in medians.items())
    return int(args.model == "convbert-small" and late)


def start(engine: str, folder: str) -> float:
    """Return the seconds of one run of infer.py on its default sentence."""
    script = ROOT / "deploy" / "inference_python" / "infer.py"
    command = [sys.executable, script, "--model_dir", f"{folder}/float", "--engine", engine]
    command += ["--output_npy", f"{folder}/answer.npy"]
    environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}  # of compiled models
    began = time.perf_counter()
    run_step(command, stdout=subprocess.DEVNULL, env=environment)
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    run_main(main)
