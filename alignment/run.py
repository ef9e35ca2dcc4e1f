"""Compare this ConvBERT with transformers' PyTorch ConvBERT; exit with status 1 if they differ.

    python alignment/run.py                 the whole grid at full depth
    python alignment/run.py --quick         the smallest size on a few shapes

It makes the reference's environment if it is missing, gives both sides the same random weights and
inputs, and prints one table. It downloads only the packages of that environment.
"""

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

from alignment import cases, results
from alignment.results import Arrays, Row
from convbert.command.flags import make_parser
from convbert.command.provenance import describe, provenance
from convbert.command.start import run_main, run_step, start_paddle
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir
from paddlenlp.utils.log import get_logger

REQUIREMENTS = "alignment/requirements-reference.txt"


def main(argv=None) -> int:
    """Run all steps; return 0 if every difference is within its bound, else 1."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="the smallest size on a few shapes")
    add("--sizes", nargs="+", choices=cases.SIZES, help="sizes to compare (default: all)")
    environment = ROOT / ".venv-reference"
    add("--reference_env", type=Path, default=environment, help="environment, made if missing")
    add("--work_dir", type=Path, help="keep the results of both sides here (default: delete them)")
    args = parser.parse_args(argv)
    start_paddle()
    sizes = args.sizes or (["convbert-small"] if args.quick else list(cases.SIZES))
    reference = reference_python(args.reference_env)
    title = versions(reference)  # before the run, because the code may change meanwhile
    with ExitStack() as stack:
        work = args.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ensure_writable_dir(work)
        results.dump(work / "batches.npz", training_batches())
        rows: list[Row] = []
        for size in sizes:
            remove_results(work / size)  # of an earlier run with this --work_dir
            rows += compare_size(work / size, reference, args.quick)
            print(f"{size} done: {verdict(rows)}", file=sys.stderr, flush=True)
            if not args.work_dir:  # one size takes several gigabytes
                remove_results(work / size)
    rows.sort(key=lambda row: row.step)
    print(f"{title}\n\n{results.table(rows)}\n\n{verdict(rows)}")
    return 0 if all(row.passed for row in rows) else 1


def verdict(rows: list[Row]) -> str:
    """Count the rows that pass and name the others."""
    beyond = [row.quantity for row in rows if not row.passed]
    count = f"{len(rows) - len(beyond)} of {len(rows)} rows within their bounds"
    return f"{count}; beyond: {', '.join(beyond)}" if beyond else count


def remove_results(folder: Path) -> None:
    """Remove the checkpoints and results of one size, and nothing else."""
    for name in ("hf", "paddle", "converted", "reference", "ours"):
        shutil.rmtree(folder / name, ignore_errors=True)


def reference_python(directory: Path) -> str:
    """Return the interpreter of the reference's environment; make the environment if necessary."""
    make = f'source shell/_env.sh; make_venv "$1" "$(find_python 3.11 3.12)" "{REQUIREMENTS}"'
    run_step(["bash", "-euc", make, "run.py", directory.resolve()], cwd=ROOT)
    return str(directory / "bin" / "python")


def compare_size(folder: Path, reference: str, quick: bool) -> list[Row]:
    """Run both sides for the size that names the folder, and compare their results."""
    run_reference(reference, folder, "quick" if quick else "whole")
    run_ours(folder, quick)
    run_reference(reference, folder, "converted")
    return [compare(folder, *row) for row in COMPARISONS if (folder.name, row[1]) != NOT_COMPUTED]


def run_reference(python: str, folder: Path, part: str) -> None:
    """Run the reference in its own environment."""
    print(f"reference: {folder.name} {part}", file=sys.stderr, flush=True)
    settings = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).with_name("reference.py")
    run_step([python, script, folder, part], env={**os.environ, **settings})


def run_ours(folder: Path, quick: bool) -> None:
    """Run our side in this process."""
    from alignment.ours import Ours

    print(f"ours: {folder.name}", file=sys.stderr, flush=True)
    get_logger().setLevel("ERROR")  # the checkpoints of the reference have no manifest
    Ours(folder).write(quick)


def compare(
    folder: Path,
    step: str,
    what: str,
    quantity: str,
    bound: float,
    select: str = "",
    scale: Callable[[Arrays], dict[str, float]] | None = None,
) -> Row:
    """Return the worst difference of a quantity over all of its files.

    Args:
        folder: the results of one size.
        step, quantity, bound: as in the table.
        what: folder of the files.
        select: start of the names to compare.
        scale: returns the number to divide each difference by.
    """
    worst, count = 0.0, 0
    for path in sorted((folder / "reference" / what).glob("*.npz")):
        other = folder / "ours" / what / path.name
        if not other.exists():
            raise UserError("outputs-differ", f"our side did not write {other}")
        left, right = (
            {name: array for name, array in results.load(file).items() if name.startswith(select)}
            for file in (path, other)
        )
        found = results.differences(left, right, scale(left) if scale else None)
        worst, count = max([worst, *found.values()]), count + len(found)
    if not count:
        raise UserError("outputs-differ", f"there are no results for {folder.name} {quantity}")
    return Row(step, f"{folder.name} {quantity} ({count})", worst, bound)


def gradient_scales(gradients: Arrays) -> dict[str, float]:
    """Return the largest entry of each gradient, for relative differences.

    Some gradients are exactly zero in theory, so both sides compute only rounding noise. Their
    scale is the gradient of a related parameter.
    """
    scales = {name: float(abs(array).max()) for name, array in gradients.items()}
    scales.update({zero: scales[partner] for zero, partner in zeros_in_theory(gradients)})
    return {name: scale or 1.0 for name, scale in scales.items()}


def zeros_in_theory(gradients: Arrays) -> Iterator[tuple[str, str]]:
    """Yield parameters whose gradient is zero in theory, each with a related parameter.

    They shift all inputs of a softmax by the same amount: the bias of a key shifts all scores of a
    query; the bias of a span's or choice's score, and before it that of the last normalization,
    shift all positions or choices.
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
    """Return 1, or the loss if it is larger, because float32 has seven digits."""
    return {name: max(1.0, float(abs(loss).max())) for name, loss in losses.items()}


# step, folder, quantity, bound, start of the names, scale of the differences
COMPARISONS = (
    ("1 forward", "forward", "hidden states", 1e-5, "state_"),
    ("1 forward", "forward", "logits", 1e-5, "logits"),
    ("1 forward", "alone", "padding masked = reference unpadded, logits", 1e-5),
    ("1 forward", "heads", "logits of all heads", 1e-5),
    ("1 forward", "converted", "logits after Paddle -> HF", 1e-5),
    ("2 metric", "metric", "GLUE metrics", 1e-9),
    ("3 loss", "forward", "classification loss", 1e-6, "loss", loss_scales),
    ("3 loss", "heads_loss", "loss of all heads", 1e-6, "", loss_scales),
    ("4 backward", "backward", "gradients / max", 1e-5, "", gradient_scales),
    ("4 backward", "heads_backward", "gradients of all heads / max", 1e-5, "", gradient_scales),
    ("5 training", "training_loss", "loss of 20 steps", 1e-4),
    ("5 training", "training_parameters", "parameters after 20 steps", 1e-4),
)
NOT_COMPUTED = ("convbert-base", "heads_backward")  # the gradients of its body are compared


def training_batches() -> Arrays:
    """Return the padded batches of the training step: the first sentences of data/reviews."""
    import numpy as np

    from convbert.text.processing import TextProcessor
    from convbert.training.tasks import glue_examples
    from paddlenlp.transformers import ConvBertTokenizer

    processor = TextProcessor(ConvBertTokenizer(str(REVIEWS / "vocab.txt")))
    examples = glue_examples("sst-2", "train", REVIEWS)
    size, arrays = cases.TRAINING["batch"], {}
    for step in range(cases.TRAINING["steps"]):
        part = slice(step * size, (step + 1) * size)
        ids, types = processor.collate(processor.encode(examples.texts[part]))
        labels = np.array(examples.labels[part], dtype=np.int64)
        batch = {"input_ids": ids, "token_type_ids": types, "labels": labels}
        arrays.update({f"{name}_{step}": array for name, array in batch.items()})
    return arrays


def versions(reference: str) -> str:
    """Return the versions that were compared, and the machine."""
    import paddle

    code = "import torch, transformers as t; print(torch.__version__, t.__version__)"
    torch, transformers = subprocess.check_output([reference, "-c", code], text=True).split()
    return (
        f"paddle {paddle.__version__} against torch {torch} with transformers {transformers}; "
        f"Python {platform.python_version()}, float32; {describe(provenance())}"
    )


if __name__ == "__main__":
    run_main(main)
