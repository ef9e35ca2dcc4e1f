"""Training speed with batches of similar length against random order, and what it does to accuracy.

    python benchmarks/bench_group_by_length.py --data_dir DIR [--steps 200] [flags of train.py]

Both orders train the same model from the same weights, in turns of a few steps, so that a change of
the machine's speed meets both. Times are those of the training steps alone. Examples per second,
the share of padding and the dev metric after the same number of examples go to one JSON file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import keep_freed_memory, set_cpu_environment
from convbert.command.start import run_main
from convbert.training.settings import TrainConfig
from paddlenlp.utils.files import write_json

TURN = 25  # steps of one order before the other has its turn


class Side:
    """One order of the batches: its trainer and its clock."""

    def __init__(self, name: str, trainer, steps: int):
        self.name, self.trainer = name, trainer
        self.updates: Iterator = islice(trainer.updates(), steps)
        self.steps = self.examples = self.tokens = self.computed = 0
        self.seconds = 0.0

    def turn(self) -> bool:
        """Train for one turn; False when all steps are done."""
        updates: list = list(islice(self.updates, TURN))
        started = time.perf_counter()
        for update in updates:
            self.trainer.step(update)
        if updates:
            self.trainer.mean_loss()  # waits for the device and checks for nan
        self.seconds += time.perf_counter() - started
        for batch in (batch for update in updates for batch in update.batches):
            lengths = self.trainer.train.lengths[batch]
            self.tokens += int(lengths.sum())
            self.computed += int(lengths.max()) * len(batch)
            self.examples += len(batch)
        self.steps += len(updates)
        return bool(updates)

    def result(self) -> dict[str, Any]:
        """The numbers of this side; evaluates."""
        return {
            "steps": self.steps,
            "examples": self.examples,
            "seconds": round(self.seconds, 3),
            "examples_per_second": round(self.examples / self.seconds, 1),
            "padding": round(1 - self.tokens / self.computed, 4),
            "dev": self.trainer.evaluate(),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both orders and write the result."""
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--steps",
        type=int_at_least(0),
        default=200,
        help="optimizer steps of each order; 0: one whole epoch (default: 200)",
    )
    parser.add_argument(
        "--output", default="benchmarks/results/group_by_length.json", metavar="FILE"
    )
    args, train_flags = parser.parse_known_args(argv)
    keep_freed_memory()
    set_cpu_environment()
    result = measure(train_flags, args.steps)
    write_json(args.output, result)
    print(table(result), f"-> {args.output}", sep="\n")
    return 0


def measure(train_flags: Sequence[str], steps: int) -> dict[str, Any]:
    """Train both orders in turns; returns everything worth keeping."""
    import numpy
    import paddle

    from convbert.training.build import build_trainer

    length = ["--num_train_epochs", "1"] if steps == 0 else ["--max_steps", str(steps)]
    sides = []
    for name, grouped in (("random", "False"), ("grouped", "True")):
        flags = [*train_flags, *length, "--group_by_length", grouped]
        trainer = build_trainer(TrainConfig.parse(flags))
        sides.append(Side(name, trainer, trainer.total_steps))
    while [side for side in sides if side.turn()]:  # both must have their turn
        pass
    results = {side.name: side.result() for side in sides}
    rates = {name: result["examples_per_second"] for name, result in results.items()}
    return {
        **machine(),
        "versions": {"paddle": paddle.__version__, "numpy": numpy.__version__},
        "train_flags": list(train_flags),
        "sides": results,
        "grouped_over_random": round(rates["grouped"] / rates["random"], 2),
    }


def table(result: dict[str, Any]) -> str:
    """A Markdown table of the result."""
    lines = ["| order | examples/s | padding | dev |", "|---|---|---|---|"]
    for name, side in result["sides"].items():
        dev = {k: round(v, 4) for values in side["dev"].values() for k, v in values.items()}
        lines.append(f"| {name} | {side['examples_per_second']} | {side['padding']:.1%} | {dev} |")
    return "\n".join([*lines, f"grouped / random: {result['grouped_over_random']}"])


if __name__ == "__main__":
    run_main(main)
