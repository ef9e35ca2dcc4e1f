"""Result files of the two sides, their comparison, and the table of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlenlp.utils.errors import UserError

Arrays = dict[str, np.ndarray]


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


HEADER = ("step", "quantity", "max abs difference", "bound", "pass")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    cells: list[Sequence[str]] = [HEADER]
    cells += [
        (r.step, r.quantity, f"{r.difference:.2e}", f"{r.bound:.0e}", "yes" if r.passed else "NO")
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
