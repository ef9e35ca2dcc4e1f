"""The commands of the documents run, and print what is shown below them except for measurements."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.docs.markdown import read_blocks

# In this order: each document uses what the ones before it made.
DOCUMENTS = [
    "README.md",
    "docs/training.md",
    "docs/export.md",
    "docs/scale.md",
    "deploy/inference_python/README.md",
]
if sys.version_info < (3, 13):  # Paddle Serving does not run on 3.13
    DOCUMENTS += ["deploy/serving_python/README.md", "docs/tutorial.md"]
# What differs between machines. Labels, steps, counts and names have to be as shown.
MEASURED = re.compile(
    r"\d+\.\d+(e[+-]\d+)?|\d+ s\b"  # numbers with a fraction, seconds
    r"|(?<=step )\d+(?=\)|$)|\(\d+(?= of)"  # the best step, the right answers
    r"|\d{4}-\d\d-\d\d [\d:,]+"  # date and time
)


def masked(line: str) -> str:
    """The line without measurements and spacing."""
    return MEASURED.sub("#", " ".join(line.split()))


def assert_printed(shown: str, printed: str) -> None:
    """Check that the shown lines were printed in this order; "..." stands for any text."""
    remaining = iter([masked(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        start, dots, _ = masked(line).partition("...")
        if start or not dots:
            found = any(other.startswith(start) if dots else other == start for other in remaining)
            assert found, f"not printed, or not in this order: {line}\n{printed}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the files that git knows, with this checkout's environment."""
    copy = tmp_path_factory.mktemp("fresh") / "ConvBERT-Prod"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=REPO_ROOT, text=True).split("\0"):
        source = REPO_ROOT / name
        if name and source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    (copy / ".venv").symlink_to(REPO_ROOT / ".venv")
    return copy


@pytest.mark.slow
def test_commands_run_and_print_what_is_shown(checkout: Path):
    unreachable = "http://127.0.0.1:9"  # the discard port: downloads fail immediately
    env = {**os.environ, "PPNLP_HUB": unreachable, "PPNLP_HOME": str(checkout / "cache")}
    ran = 0
    for name in DOCUMENTS:
        printed = None  # of the block before, if it ran
        for block in read_blocks(REPO_ROOT / name):
            if block.kind == "text" and printed is not None:
                assert_printed(block.body, printed)
            printed = run(block.body, checkout, env, name) if block.runs else None
            ran += block.runs
    assert ran >= len(DOCUMENTS)


def run(script: str, folder: Path, env: dict[str, str], name: str) -> str:
    """Run the commands of one block; return what they printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{name}\n{script}\n{done.stdout[-3000:]}"
    return done.stdout


def test_a_wrong_label_or_line_is_noticed():
    printed = "epoch 1\nlabel_id: 1, prob: 0.25\nall 3 passed; 12 s\n"
    assert_printed("...\nlabel_id: 1, prob: 0.75\nall ...\n", printed)
    for wrong in ("label_id: 0, prob: 0.25", "all 4 passed; 12 s", "all 3 passed; 9 s\nepoch 1"):
        with pytest.raises(AssertionError):
            assert_printed(wrong, printed)
