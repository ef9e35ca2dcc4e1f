"""The steps of a run, which the functions of the chains add to a plan.

All output is in the folder of the run. A step names the files that it must write, the check of
these files, and the steps that it needs; `tipc.runner` runs the steps in order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.products import sha256
from tipc.config import Config


@dataclass(frozen=True)
class Step:
    """One command of a run."""

    name: str  # train, eval, export, quantize, infer ...
    command: list[str]
    log: Path  # file for its output
    makes: Sequence[Path] = ()  # files that it must write
    check: partial[None] | None = None  # a function of `tipc.judge` that raises if they are wrong
    needs: Sequence[int] = ()  # numbers (from 1) of the steps that must succeed first
    # A server that runs until a step with `frees`; it is ready when this page reports `device`.
    url: str = ""
    device: str = ""
    frees: Sequence[int] = ()  # the step stops the server, which must release these ports


class Plan:
    """The steps of a run, and notes to print before it.

    Args:
        config: the configuration, for one mode.
        folder: folder of this run.
    """

    def __init__(self, config: Config, folder: Path):
        self.config, self.folder = config, folder
        self.python = config.value("python")
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def add(self, step: Step) -> int:
        """Append a step and return its number.

        It also needs the steps that write its inputs, which are the paths in its command and its
        check.
        """
        paths = [Path(word.rpartition("=")[2]) for word in step.command]
        if step.check:
            values = (*step.check.args, *step.check.keywords.values())
            paths += [value for value in values if isinstance(value, Path)]
        reads = {path for path in paths if self.folder in path.parents}
        numbers = set(step.needs)
        for number, other in enumerate(self.steps, start=1):
            if any(reads & {path, *path.parents} for path in other.makes):
                numbers.add(number)
        self.steps.append(replace(step, needs=sorted(numbers)))
        return len(self.steps)

    def command(self, script: str, *flags: str, start: list | None = None, **values) -> list[str]:
        """The words of a step: a script, flags with given values, flags of the configuration.

        ``script``, ``flags`` and the keys of ``values`` are names of slots; ``start`` replaces the
        interpreter.
        """
        words = [*([self.python] if start is None else start), *self.config.script(script)]
        for name, value in values.items():
            words += self.config.set(name, value)
        for name in flags:
            words += self.config.flag(name)
        return words

    def given_model(self, slot: str, model: str) -> str:
        """Return a model directory of the configuration; add a note with the hash of its files."""
        folder = Path(ROOT, self.config.existing(slot, model))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        hashes = "".join(f"{path.relative_to(folder)} {sha256(path)}\n" for path in files)
        digest = hashlib.sha256(hashes.encode()).hexdigest()[:12]
        self.notes.append(f"input {model}, sha256 {digest}")
        return model


def combination(device: str, mkldnn, threads, precision, batch) -> str:
    """TIPC's name of one combination of settings, for the names of logs; None is null."""
    engine = f"usemkldnn_{mkldnn}_threads_{threads}" if device == "cpu" else "usetrt_null"
    return f"{engine}_precision_{precision}_batchsize_{batch}".replace("None", "null")
