"""Score many rows with tools/score.py and with infer.py: rows/s and peak memory of both.

    python benchmarks/bench_score.py --model_dir quickstart_outputs/convbert_infer
    python benchmarks/bench_score.py --model_dir quickstart_outputs/convbert_infer --rows 10000

The rows are the sentences of data/reviews, each with its number in front, as TSV. Both commands run
on the same file, one after the other, with the same batch size and engine.
"""

import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import THREADS, int_at_least, make_parser
from convbert.command.provenance import describe, provenance
from convbert.command.start import run_main
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError


def main(argv=None) -> None:
    """Make the rows, run both commands, print their speed and memory."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", required=True, help="exported directory")
    add("--rows", type=int_at_least(1), default=1_000_000, help="rows to score")
    add("--engine", default="openvino", help="engine of both")
    add("--batch_size", type=int_at_least(1), default=32, help="texts run together")
    add("--cpu_threads", type=THREADS, default=1, help="threads of the engine")
    add("--work_dir", help="folder in which to keep the files (default: delete them)")
    args = parser.parse_args(argv)
    print(describe(provenance()))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work_dir or temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        rows = work / "rows.tsv"
        write_rows(rows, args.rows)
        print(f"rows: {args.rows}, {rows.stat().st_size / 1e6:.0f} MB; engine {args.engine}")
        common = ["--model_dir", os.path.abspath(args.model_dir), "--engine", args.engine]
        common += ["--batch_size", str(args.batch_size), "--cpu_threads", str(args.cpu_threads)]
        common += ["--input_file", str(rows)]
        commands = {
            "tools/score.py": ["--output_file", str(work / "scored.tsv"), "--overwrite"],
            "deploy/inference_python/infer.py": ["--input_column", "sentence"]
            + ["--output_file", str(work / "i.jsonl"), "--output_npy", str(work / "i.npy")],
        }
        for script, flags in commands.items():
            measure(args.rows, script, *common, *flags)


def write_rows(path: Path, count: int) -> None:
    """Write ``count`` numbered sentences."""
    lines = (REVIEWS / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    with open(path, "w", encoding="utf-8") as file:
        file.write("id\tsentence\tlabel\n")
        file.writelines(f"{n}\t{n} {line}\n" for n, line in enumerate(islice(cycle(lines), count)))


def measure(count: int, script: str, *flags: str) -> None:
    """Run a script in a separate process, from its start to its end; print speed and memory."""
    began = time.perf_counter()
    command = [sys.executable, str(ROOT / script), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise UserError("step-failed", f"{script} failed: see its error above")
    seconds = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime  # depends little on other processes
    print(
        f"{script}: {seconds:.1f} s, {count / seconds:.1f} rows/s; CPU {cpu:.1f} s, "
        f"{count / cpu:.1f} rows per CPU second; peak memory {usage.ru_maxrss / 1024:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    run_main(main)
