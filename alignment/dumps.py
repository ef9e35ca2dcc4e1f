"""Dumps in the format of reprod_log, and their comparison with numbers instead of log lines."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def new_logger():
    """Return a ``reprod_log.ReprodLogger``.

    Its file is loaded alone: the package's __init__ imports Paddle, which the torch side lacks.
    """
    package = importlib.util.find_spec("reprod_log")
    if package is None:
        raise ModuleNotFoundError("reprod_log is missing: pip install reprod_log")
    path = Path(package.submodule_search_locations[0]) / "ReprodLogger.py"
    spec = importlib.util.spec_from_file_location("reprod_log_logger", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReprodLogger()


def dump(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as one reprod_log file."""
    logger = new_logger()
    for name, array in arrays.items():
        logger.add(name, np.ascontiguousarray(array))
    logger.save(str(path))


def load(path: Path) -> dict[str, np.ndarray]:
    """Read a reprod_log file written by `dump` here (it is a pickle: never open a foreign one)."""
    return np.load(path, allow_pickle=True).item()


def differences(
    reference: dict[str, np.ndarray],
    ours: dict[str, np.ndarray],
    scales: dict[str, float] | None = None,
) -> dict[str, float]:
    """Return the largest absolute difference per name, by ``ReprodDiffHelper``.

    The helper alone would let three mistakes pass: its report returns nothing, a nan compares as
    small, and arrays of transposed shapes are silently turned. All are infinite differences here.

    Args:
        reference, ours: arrays by name.
        scales: divide both sides by these numbers, for relative differences.
    """
    from reprod_log import ReprodDiffHelper

    if set(reference) != set(ours):
        odd = sorted(set(reference) ^ set(ours))
        raise SystemExit(f"only one side has {', '.join(odd[:5])}: the comparison is wrong")
    sound = {
        name: reference[name].shape == ours[name].shape
        and bool(np.isfinite(reference[name]).all() and np.isfinite(ours[name]).all())
        for name in reference
    }
    scales = scales or {}

    def scaled(side):
        return {n: side[n].astype(np.float64) / scales.get(n, 1.0) for n in side if sound[n]}

    helper = ReprodDiffHelper()
    helper.compare_info(scaled(reference), scaled(ours))
    return {
        name: float(helper.diff_dict[name]["max"]) if sound[name] else float("inf")
        for name in reference
    }


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
    """Lay the rows out as a Markdown table."""
    cells: list[Sequence[str]] = [HEADER]
    cells += [
        (r.step, r.quantity, f"{r.difference:.2e}", f"{r.bound:.0e}", "yes" if r.passed else "NO")
        for r in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
