"""The steps of a run, and the base class of all plans.

All output is in the folder of the run. A step names the files that it must write, the check of
these files, and the steps that it needs; `tipc.runner` runs the steps in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paddlenlp.utils.products import sha256
from tipc.config import ROOT, Config

INFER = "deploy/inference_python/infer.py"


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: train, eval, export, quantize, infer ...
        command: the words of the command.
        log: file for its output.
        makes: files that it must write.
        check: a function of `tipc.judge` that returns their errors, as lines.
        needs: numbers (from 1) of the steps that must succeed first.
    """

    name: str
    command: list[str]
    log: Path
    makes: tuple[Path, ...] = ()
    check: partial[list[str]] | None = None
    needs: tuple[int, ...] = ()


@dataclass(frozen=True)
class StartServer(Step):
    """A server that runs until `StopServer`; it is ready when ``url`` reports ``device``."""

    url: str = ""
    device: str = ""


@dataclass(frozen=True)
class StopServer(Step):
    """Stops the server, which must release its ``ports``."""

    ports: tuple[int, ...] = ()


class Plan:
    """Turns a checked configuration into steps; one subclass per chain.

    Args:
        config: the configuration, for one mode.
        run_dir: folder of this run.
    """

    def __init__(self, config: Config, run_dir: Path):
        self.config, self.run_dir = config, run_dir
        self.python = config.value("python")
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def build(self) -> list[Step]:
        """Return all steps, in order.

        Raises:
            UserError: lines contradict each other, or an input does not exist.
        """
        raise NotImplementedError

    def add(
        self,
        name: str,
        command: list[str],
        log: Path,
        *makes: Path,
        check: partial | None = None,
        kind: type[Step] = Step,
        **options,
    ) -> int:
        """Append a step and return its number.

        It needs the steps in ``options["needs"]`` and those that write its inputs, which are the
        paths in its command and its check.
        """
        words = [word.rpartition("=")[2] for word in command]
        values = [*check.args, *check.keywords.values()] if check else []
        reads = {Path(word) for word in words} | {path for path in values if isinstance(path, Path)}
        reads = {path for path in reads if self.run_dir in path.parents}
        needs = set(options.pop("needs", ()))
        for number, step in enumerate(self.steps, start=1):
            if any(reads & {path, *path.parents} for path in step.makes):
                needs.add(number)
        self.steps.append(kind(name, command, log, makes, check, tuple(sorted(needs)), **options))
        return len(self.steps)

    def command(self, script: str, *flags: str, start: Sequence[str] = (), **values) -> list[str]:
        """The words of a step.

        Args:
            script: slot of the script.
            flags: slots with values from the configuration.
            start: words before the script, instead of the interpreter.
            values: values given by the runner, by slot.
        """
        words = [*(start or [self.python]), *self.config.script(script)]
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

    def paddle_answers(self, model: str, texts: list[str]) -> Path:
        """Add a step with Paddle Inference, whose answers are the reference for other engines."""
        results = self.run_dir / "paddle.json"
        command = [self.python, INFER, f"--model_dir={model}", *texts, *result_flags(results)]
        self.add("infer", command, self.run_dir / "paddle.log", results)
        return results


def result_flags(results: Path) -> list[str]:
    """The flags for the output files of an inference script."""
    return [f"--save_results={results}", f"--output_npy={results.with_suffix('.npy')}"]
