"""What both sides compute, the files of the results, their comparison, and the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignment import cases
from paddlenlp.utils.errors import UserError

Arrays = dict[str, np.ndarray]


class Side:
    """One implementation of ConvBERT, for one published size.

    A subclass computes the results; all are NumPy arrays with transformers' names and shapes:

    - ``body()``: the classifier of three classes
    - ``forward(model, case)``: hidden states ``state_0`` to ``state_n``, ``logits``, ``loss``
    - ``without_padding(model, case)``: logits [B, C] that do not depend on the padding of the batch
    - ``backward(model, case)``: the gradient of the classification loss for every parameter
    - ``head(head)``: logits, loss, and gradients by parameter
    - ``pretraining_loss(losses)``: their joint loss, from the losses of all heads
    - ``train(batches)``: the loss of each of 20 steps, and the parameters after them
    - ``metric(name, predictions, labels)``: a metric of GLUE

    Args:
        folder: named as the size; both sides share it. The reference writes its checkpoints to
            ``hf``, each side writes its results to the folder of its name.
    """

    name = ""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoints = folder / "hf"

    def write(self, quick: bool) -> None:
        """Compute the whole grid (a small part if ``quick``) and write every result."""
        model = self.body()
        for case in cases.forward_cases(quick):
            self.save(f"forward/{case.name}", self.forward(model, case))
            if case.form != "plain" and case.batch == 3:
                self.save(f"alone/{case.name}", {"logits": self.without_padding(model, case)})
        for case in cases.gradient_cases(quick):
            self.save(f"backward/{case.name}", self.backward(model, case))
        losses = {}
        for head in cases.HEAD_CASES:
            logits, losses[head.name], gradients = self.head(head)
            self.save(f"heads/{head.name}", logits)
            if self.folder.name != "convbert-base":  # 400 MB for each head
                self.save(f"heads_backward/{head.name}", gradients)
        losses["pretraining"] = self.pretraining_loss(losses)
        self.save("heads_loss/all", {name: np.array([loss]) for name, loss in losses.items()})
        losses, parameters = self.train(load(self.folder.parent / "batches.npz"))
        self.save("training_loss/all", {"losses": np.array(losses)})
        self.save("training_parameters/all", parameters)
        metrics = {
            f"{kind}/{name}": np.array([self.metric(name, predictions, labels)])
            for kind, name, predictions, labels in cases.metric_inputs()
        }
        self.save("metric/all", metrics)

    def save(self, name: str, arrays: Arrays) -> None:
        """Write one result file of this side."""
        dump(self.folder / self.name / f"{name}.npz", arrays)


def dump(path: Path, arrays: Arrays) -> None:
    """Write named arrays to an .npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def load(path: Path) -> Arrays:
    """Read an .npz file."""
    with np.load(path) as file:
        return dict(file)


def differences(
    reference: Arrays, ours: Arrays, scales: dict[str, float] | None = None
) -> dict[str, float]:
    """Return the largest absolute difference per name.

    It is infinite if a value is not finite or the shapes differ.

    Args:
        reference, ours: arrays by name.
        scales: numbers to divide the differences by, for relative differences.

    Raises:
        UserError: the names differ.
    """
    if set(reference) != set(ours):
        odd = sorted(set(reference) ^ set(ours))
        raise UserError("outputs-differ", f"only one side has {', '.join(odd[:5])}")
    scales = scales or {}
    return {
        name: _difference(reference[name], ours[name]) / scales.get(name, 1.0) for name in reference
    }


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    if left.shape != right.shape or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return float("inf")
    return float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max())


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    step: str
    quantity: str
    difference: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the bound."""
        return self.difference <= self.bound


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    cells = [("step", "quantity", "max abs difference", "bound", "pass")]
    cells += [
        (r.step, r.quantity, f"{r.difference:.2e}", f"{r.bound:.0e}", "yes" if r.passed else "NO")
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
