"""Compare this ConvBERT with transformers' PyTorch ConvBERT, step by step; exit 1 on a difference.

    python alignment/run.py                 the whole grid at full depth
    python alignment/run.py --quick         the smallest size on a few shapes

Makes the reference's virtual environment if it is missing, runs both sides in processes of their
own on the same random weights and inputs, and prints one table. Without network beyond pip.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from alignment import cases, dumps
from alignment.dumps import Row
from benchmarks.machine import commit, describe, machine
from convbert.command.flags import make_parser
from convbert.command.machine import default_threads
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, ensure_writable_dir

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements-reference.txt"
REFERENCE_PYTHONS = ((3, 11), (3, 12))  # those that all of its pinned packages support
Arrays = dict[str, object]


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="the smallest size on a few shapes")
    parser.add_argument("--sizes", nargs="+", choices=cases.SIZES, help="published sizes to run")
    parser.add_argument(
        "--reference_env", type=Path, default=ROOT / ".venv-reference", help="its environment"
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        help="folder with SST-2/ and vocab/vocab.txt for the training step; random batches without",
    )
    parser.add_argument("--work_dir", type=Path, help="keep the dumps here (default: discarded)")
    parser.add_argument("--report", type=Path, help="also write the table to this file")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run all steps; 0 if every difference is within its bound, 1 if not."""
    args = parse_args(argv)
    sizes = args.sizes or (["convbert-small"] if args.quick else list(cases.SIZES))
    if args.report and not args.report.exists():
        ensure_writable_dir(args.report.parent)  # now, not after an hour
    reference = reference_python(args.reference_env)
    with ExitStack() as stack:
        work = args.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ensure_writable_dir(work)
        source = training_batches(work, args.data_dir)
        title = f"{versions(reference)}; training on {source}"  # the code as the run found it
        rows: list[Row] = []
        for size in sizes:
            remove_dumps(work, size)  # of an earlier run with this --work_dir
            rows += compare_size(work, size, reference, args.quick)
            print(f"{size} done: {verdict(rows)}", file=sys.stderr, flush=True)
            if not args.work_dir:  # one size fills some gigabytes
                remove_dumps(work, size)
        rows += compare(work, "", "metric", "GLUE metrics", 1e-9, "2 metric")
    rows.sort(key=lambda row: row.step)
    text = f"{title}\n\n{dumps.table(rows)}"
    print(text)
    if args.report:
        with atomic_write(args.report) as file:
            file.write(text + "\n")
    print(f"\n{verdict(rows)}")
    return 0 if all(row.passed for row in rows) else 1


def verdict(rows: list[Row]) -> str:
    """Count the rows that pass and name those that do not."""
    beyond = [row.quantity for row in rows if not row.passed]
    count = f"{len(rows) - len(beyond)} of {len(rows)} rows within their bounds"
    return f"{count}; beyond: {', '.join(beyond)}" if beyond else count


def remove_dumps(work: Path, size: str) -> None:
    """Remove the checkpoints and dumps of one size."""
    for side in ("hf", "paddle", "converted", "reference", "ours"):
        shutil.rmtree(work / side / size, ignore_errors=True)


def reference_python(directory: Path) -> str:
    """Return the interpreter of the reference's environment, making it where it is missing.

    It is complete when its file ``ready``, written last, holds these very requirements.

    Raises:
        UserError: it cannot be made.
    """
    python, ready = directory / "bin" / "python", directory / "ready"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if python.exists() and ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return str(python)
    print(f"making {directory} (torch and transformers, some minutes)", flush=True)
    if not python.exists() and sys.version_info[:2] not in REFERENCE_PYTHONS:
        raise UserError(
            "environment",
            f"the reference needs Python 3.11 or 3.12, not {platform.python_version()}: make its "
            f"environment with one (python3.11 -m venv {directory}) and run this again",
        )
    create = [] if python.exists() else [[sys.executable, "-m", "venv", str(directory)]]
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
    for command in (*create, install):
        if not run_ok(command):
            raise UserError(
                "step-failed", f"cannot make {directory}: '{' '.join(command)}' failed, see above"
            )
    with atomic_write(ready) as file:
        file.write(wanted)
    return str(python)


def run_ok(command: list[str]) -> bool:
    """Run a command; whether it succeeded."""
    return subprocess.run(command, check=False).returncode == 0


def run_side(python: str, script: str, *arguments: str) -> None:
    """Run one side in its own process.

    Raises:
        UserError: it failed.
    """
    threads = str(default_threads())
    environment = {"OMP_NUM_THREADS": threads, "TRANSFORMERS_VERBOSITY": "error", **os.environ}
    environment.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    command = [python, str(HERE / script), *arguments]
    print(f"{script} {' '.join(arguments[1:])}", file=sys.stderr, flush=True)
    if subprocess.run(command, check=False, env=environment).returncode:
        raise UserError("step-failed", f"{' '.join(command)} failed, see above")


def compare_size(work: Path, size: str, reference: str, quick: bool) -> list[Row]:
    """Run both sides for one size and compare their dumps."""
    flags = ["--quick"] if quick else []
    run_side(reference, "reference.py", str(work), size, *flags)
    run_side(sys.executable, "ours.py", str(work), size, *flags)
    run_side(reference, "reference.py", str(work), size, "--converted")
    rows: list[Row] = []
    for step, what, quantity, bound, select, scale in COMPARISONS:
        if (what, size) not in NOT_DUMPED:
            rows += compare(work, size, what, f"{size} {quantity}", bound, step, select, scale)
    return rows


def compare(
    work: Path,
    size: str,
    what: str,
    quantity: str,
    bound: float,
    step: str,
    select: str = "",
    scale: Callable[[Arrays], dict[str, float]] | None = None,
) -> Iterator[Row]:
    """Yield one row: the worst difference of a quantity over all dumped cases."""
    worst, count = 0.0, 0
    for path in dump_files(work / "reference" / size, what):
        other = work / "ours" / path.relative_to(work / "reference")
        if not other.exists():
            raise UserError("outputs-differ", f"our side wrote no {other.relative_to(work)}")
        left = {n: a for n, a in dumps.load(path).items() if n.startswith(select)}
        right = {n: a for n, a in dumps.load(other).items() if n.startswith(select)}
        found = dumps.differences(left, right, scale(left) if scale else None)
        worst, count = max([worst, *found.values()]), count + len(found)
    if not count:
        raise UserError("outputs-differ", f"nothing was dumped for {quantity}")
    yield Row(step, f"{quantity} ({count})", worst, bound)


def dump_files(folder: Path, what: str) -> list[Path]:
    """The dumps of one quantity: a file, or all in a folder."""
    single = folder / f"{what}.npy"
    return [single] if single.exists() else sorted((folder / what).glob("*.npy"))


def gradient_scales(gradients: Arrays) -> dict[str, float]:
    """Largest entry of each gradient, which its difference is relative to.

    Some gradients are exactly zero in theory, so that both sides compute rounding noise; those are
    held against the gradient of a neighbour.
    """
    scales = {name: float(abs(array).max()) for name, array in gradients.items()}
    scales.update({zero: scales[partner] for zero, partner in zeros_in_theory(gradients)})
    return {name: scale or 1.0 for name, scale in scales.items()}


def zeros_in_theory(gradients: Arrays) -> Iterator[tuple[str, str]]:
    """Yield parameters that softmax ignores, as they shift all its inputs alike, and a neighbour.

    A key's bias shifts all scores of a query; the bias of a span's or choice's score, and before
    it that of the last normalisation, shift all positions or choices.
    """
    for name in gradients:
        if name.endswith("attention.self.key.bias"):
            yield name, name.replace("key.bias", "query.bias")
    if "qa_outputs.bias" in gradients:
        last = [name for name in gradients if name.endswith(".output.LayerNorm.bias")][-1]
        for name in ("qa_outputs.bias", last):
            yield name, name.replace("bias", "weight")
    if "classifier.bias" in gradients and gradients["classifier.bias"].size == 1:
        yield "classifier.bias", "classifier.weight"


def loss_scales(losses: Arrays) -> dict[str, float]:
    """1, or the loss itself where it is larger: float32 has seven digits."""
    return {name: max(1.0, float(abs(loss).max())) for name, loss in losses.items()}


# step, dump, quantity, bound, names to compare, what differences are relative to
COMPARISONS = (
    ("1 forward", "forward", "hidden states", 1e-5, "state_", None),
    ("1 forward", "forward", "logits", 1e-5, "logits", None),
    ("1 forward", "alone", "padding masked = reference unpadded, logits", 1e-5, "", None),
    ("1 forward", "heads", "logits of all heads", 1e-5, "", None),
    ("1 forward", "converted", "logits after Paddle -> HF", 1e-5, "", None),
    ("3 loss", "loss", "classification loss", 1e-6, "", loss_scales),
    ("3 loss", "heads_loss", "loss of all heads", 1e-6, "", loss_scales),
    ("4 backward", "backward", "gradients / max", 1e-5, "", gradient_scales),
    ("4 backward", "heads_backward", "gradients of all heads / max", 1e-5, "", gradient_scales),
    ("5 training", "training_loss", "loss of 20 steps", 1e-4, "", None),
    ("5 training", "training_parameters", "parameters after 20 steps", 1e-4, "", None),
)

NOT_DUMPED = (("heads_backward", "convbert-base"),)  # its body's gradients are compared apart


def training_batches(work: Path, data_dir: Path) -> str:
    """Write the batches of the training step; returns where they come from."""
    settings = cases.TRAINING
    count, size = settings["steps"], settings["batch"]
    arrays: Arrays = {}
    real = (data_dir / "SST-2" / "train.tsv").is_file()
    for step, batch in enumerate(sst2_batches(data_dir, count, size) if real else random_batches()):
        for name, array in batch.items():
            arrays[f"{name}_{step}"] = array
    dumps.dump(work / "batches.npy", arrays)
    return f"the first {count * size} sentences of SST-2" if real else "random batches"


def sst2_batches(data_dir: Path, count: int, size: int) -> Iterator[Arrays]:
    """Yield padded batches of the real training sentences."""
    import numpy as np

    from convbert.text.processing import TextProcessor
    from paddlenlp.datasets import load_dataset
    from paddlenlp.transformers import ConvBertTokenizer

    tokenizer = ConvBertTokenizer(str(data_dir / "vocab" / "vocab.txt"))
    processor = TextProcessor(tokenizer, max_seq_len=128)
    examples = load_dataset("glue", "sst-2", "train", data_dir=str(data_dir / "SST-2"))
    for step in range(count):
        part = [examples[index] for index in range(step * size, (step + 1) * size)]
        ids, types = processor.collate(processor.encode([each["sentence"] for each in part]))
        labels = np.array([each["labels"] for each in part], dtype=np.int64)
        yield {"input_ids": ids, "token_type_ids": types, "labels": labels}


def random_batches() -> Iterator[Arrays]:
    """Yield random batches where the real data is missing."""
    for step in range(cases.TRAINING["steps"]):
        case = cases.Case(cases.TRAINING["batch"], 20 + step, "pairs")
        inputs = case.inputs(30522)
        del inputs["attention_mask"]
        yield {**inputs, "labels": case.labels(2)}


def versions(reference: str) -> str:
    """Name what was compared, and on what machine."""
    import paddle

    code = "import torch, transformers as t; print('torch', torch.__version__, t.__version__)"
    theirs = subprocess.run([reference, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    python = platform.python_version()
    torch, theirs = theirs.stdout.split()[1:]
    return (
        f"commit {commit()}; paddle {paddle.__version__} against torch {torch} with transformers "
        f"{theirs}; Python {python}, float32; {describe(machine())}"
    )


if __name__ == "__main__":
    run_main(main)
