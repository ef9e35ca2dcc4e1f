"""kill -9 at any moment leaves whole products only, and the next run completes them."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from paddlenlp.utils.products import MANIFEST_FILE, verify
from tests.conftest import start_script
from tests.stress.conftest import Command

PATIENCE_S = 600


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
        self.killed = self.killed_writing = self.ended = 0
        self.usual = 0.0  # seconds of a whole run

    def start(self, out: Path) -> subprocess.Popen:
        """Start it in a process group of its own; a second run continues the first."""
        marker, found, otherwise = self._command.resume
        flags = found if marker and any(out.glob(marker)) else otherwise
        options = {"stderr": subprocess.PIPE, "start_new_session": True}
        return start_script(*self._command.argv(out), *flags, cwd=self._folder, **options)

    def finish(self, out: Path) -> None:
        """Run to the end."""
        began = time.monotonic()
        process = self.start(out)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        self.usual = self.usual or time.monotonic() - began

    def kill(self, out: Path, writing: bool) -> bool:
        """Run and kill; return False if the run ended before."""
        process = self.start(out)
        began, known = time.monotonic(), set(unfinished(out))
        until = began + self._rng.uniform(0.3, 1.0) * self.usual
        while process.poll() is None and (writing or time.monotonic() < until):
            if writing and set(unfinished(out)) - known:
                time.sleep(self._rng.uniform(0, 0.02))
                break
            time.sleep(0.002)
        if process.poll() is not None:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            self.ended += 1
            self.usual = min(self.usual, time.monotonic() - began)  # the machine may be less busy
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.killed += 1
        self.killed_writing += writing
        return True


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
    killer.finish(whole)
    expected = digests(whole, command.products)
    while killer.killed < wanted:
        # Some commands write for so short a time that most runs end before the kill.
        writing = killer.killed % 2 == 0 and killer.ended < wanted
        was_killed = killer.kill(out, writing)
        check_whole(out, command, expected)
        if not was_killed:
            shutil.rmtree(out)
            out.mkdir()
    left = len(unfinished(out))
    killer.finish(out)
    check_whole(out, command, expected)
    if command.compared:
        assert digests(out, command.products) == expected
    print(
        f"\n{name}: {killer.killed} kills ({killer.killed_writing} while writing), {killer.ended} "
        f"runs ended before, 0 products damaged, the last run completed in the usual "
        f"{killer.usual:.1f} s; "
        f"temporary files {left} before it, {len(unfinished(out))} after it"
    )
