"""kill -9 at any moment leaves whole products only, and the next run completes them."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from paddlenlp.utils.products import MANIFEST_FILE, verify
from tests.helpers.training import tiny_flags, write_sst2

PRETRAIN = shlex.split(
    "--num_hidden_layers 1 --hidden_size 16 --num_attention_heads 4 --intermediate_size 16 "
    "--embedding_size 8 --generator_share 2 --batch_size 8 --max_steps 60 --save_steps 5 "
    "--device cpu"
)
PATIENCE_S = 600


@dataclass
class Command:
    """What is killed: ``argv(out)`` is its command line, ``products`` what must be whole in out."""

    argv: Callable[[Path], list]
    products: tuple[str, ...]
    resume: tuple[str, list[str], list[str]] = ("", [], [])
    compared: bool = True  # the end result has the same bytes each time
    quick: bool = False  # also in CI


@pytest.fixture
def commands(tmp_path, tiny_checkpoint, tiny_export, tiny_vocab):
    """The commands by name; `resume`: a pattern, flags if a path matches it, flags if none does."""
    data = write_sst2(tmp_path / "data")
    texts = tmp_path / "texts.txt"
    texts.write_text("a good film .\nthe plot is bad\n" * 2000)
    table = tmp_path / "table.tsv"
    table.write_text("sentence\n" + texts.read_text())
    dev = tmp_path / "dev.tsv"
    dev.write_text("sentence\tlabel\nbad\t0\n")
    train = {"max_steps": 200, "save_steps": 20, "logging_steps": 20}
    corpus = ["--input_file", texts, "--vocab_file", tiny_vocab]
    return {
        "train": Command(
            lambda out: ["train.py", *tiny_flags(tiny_checkpoint, data, out, **train)],
            ("best.pdparams",),
            ("states/step-*", ["--resume"], ["--overwrite"]),
        ),
        "export": Command(
            lambda out: (
                ["tools/export_model.py", "--model_path", tiny_checkpoint]
                + ["--save_inference_dir", out / "infer"]
            ),
            ("infer",),
            quick=True,
        ),
        "convert": Command(
            lambda out: (
                ["tools/export_serving_model.py", "--dirname", tiny_export]
                + ["--serving_server", out / "server", "--serving_client", out / "client"]
            ),
            ("server", "client"),
            quick=True,
        ),
        "quantize": Command(
            lambda out: (
                ["tools/quantize_model.py", "--model_dir", tiny_export, "--calib_file", texts]
                + ["--dev_file", dev, "--max_drop", 100, "--save_inference_dir", out / "int8"]
            ),
            ("int8",),
        ),
        "pretrain": Command(
            lambda out: ["pretrain.py", *PRETRAIN, *corpus, "--output_dir", out],
            ("last",),
            ("last", ["--resume"], []),
        ),
        "infer": Command(
            lambda out: (
                ["deploy/inference_python/infer.py", "--model_dir", tiny_export]
                + ["--input_file", texts, "--output_file", out / "labels.jsonl"]
            ),
            ("labels.jsonl",),
        ),
        "score": Command(
            lambda out: (
                ["tools/score.py", "--model_dir", tiny_export, "--input_file", table]
                + ["--output_file", out / "scored.tsv", "--rows_per_part", 500]
            ),
            ("scored.tsv",),
            ("scored.tsv", ["--overwrite"], []),
        ),
        "quickstart": Command(
            lambda out: ["tools/quickstart.py", "--device", "cpu", "--output_dir", out],
            (),
            compared=False,
        ),
    }


def unfinished(folder: Path) -> list[Path]:
    """Temporary files and folders, which no reader opens, except those that try a folder out."""
    return [path for path in folder.rglob(".*.tmp") if not path.name.startswith(".probe.")]


def check_whole(out: Path, command: Command, expected: dict[str, str]) -> None:
    """Compare every product in a folder with its manifest, a file with the one of a whole run."""
    for name in command.products:
        product = out / name
        if product.is_dir():
            assert (product / MANIFEST_FILE).is_file(), f"{product} is not whole"
        elif product.is_file():
            assert digests(out, (name,)) == {name: expected[name]}
    for manifest in out.rglob(MANIFEST_FILE):
        if not any(part.endswith(".tmp") for part in manifest.parts):
            verify(manifest.parent)


def digests(out: Path, products: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of the data files of products by their relative paths."""
    files = [
        file
        for name in products
        for file in ([out / name] if (out / name).is_file() else (out / name).rglob("*"))
        # Files of these types differ in each run.
        if file.is_file() and file.suffix not in (".json", ".info", ".xml")
    ]
    assert files or not products
    return {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


class Killer:
    """Runs a command and kills it, at a random time or while it is writing."""

    def __init__(self, command: Command, folder: Path, rng):
        self._command, self._folder, self._rng = command, folder, rng
        self.writing = self.by_time = self.ended = 0

    def start(self, out: Path) -> subprocess.Popen:
        """Start it in a process group of its own; a second run continues the first."""
        marker, found, otherwise = self._command.resume
        flags = found if marker and any(out.glob(marker)) else otherwise
        argv = [str(word) for word in (*self._command.argv(out), *flags)]
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve().parents[2] / argv[0]), *argv[1:]],
            cwd=str(self._folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, out: Path) -> float:
        """Run to the end; return the seconds."""
        began = time.monotonic()
        process = self.start(out)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        return time.monotonic() - began

    def kill(self, out: Path, usual: float, writing: bool) -> float:
        """Run and kill; a run that ended before is counted, and begun anew the next time.

        Returns:
            ``usual``, or the seconds of this run if it ended sooner: the machine may be less busy.
        """
        process = self.start(out)
        began, known = time.monotonic(), set(unfinished(out))
        until = began + self._rng.uniform(0.3, 1.0) * usual
        while process.poll() is None and (writing or time.monotonic() < until):
            if writing and set(unfinished(out)) - known:
                time.sleep(self._rng.uniform(0, 0.02))
                break
            time.sleep(0.002)
        if process.poll() is not None:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            self.ended += 1
            return min(usual, time.monotonic() - began)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.writing += writing
        self.by_time += not writing
        return usual


@pytest.mark.parametrize(
    "name", ["train", "export", "convert", "quantize", "pretrain", "infer", "score", "quickstart"]
)
def test_a_kill_leaves_whole_products(commands, tmp_path, amount, rng, name):
    command, kills = commands[name], amount("kills")
    if not kills and not command.quick:
        pytest.skip("give --kills")
    killer, wanted = Killer(command, tmp_path, rng), max(kills, 1)
    whole, out = tmp_path / "whole", tmp_path / "out"
    for folder in (whole, out):
        folder.mkdir()
    usual = killer.finish(whole)
    expected = digests(whole, command.products)
    killed = 0
    while killed < wanted:
        # Some commands write for so short a time that most runs end before the kill.
        writing = killed % 2 == 0 and killer.ended < wanted
        usual = killer.kill(out, usual, writing)
        check_whole(out, command, expected)
        if killer.writing + killer.by_time == killed:  # it had ended
            shutil.rmtree(out)
            out.mkdir()
        killed = killer.writing + killer.by_time
    left = len(unfinished(out))
    killer.finish(out)
    check_whole(out, command, expected)
    if command.compared:
        assert digests(out, command.products) == expected
    print(
        f"\n{name}: {killed} kills ({killer.writing} while writing), {killer.ended} runs ended "
        f"before, 0 products damaged, the last run completed in the usual {usual:.1f} s; "
        f"temporary files {left} before it, {len(unfinished(out))} after it"
    )
