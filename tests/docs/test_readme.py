"""The commands of the READMEs run, and print what is shown below them but for the numbers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT

FENCE = re.compile(
    r"(?P<note><!-- (?:not run here:|run by) [^\n]+ -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)```", re.S
)
NUMBER = re.compile(r"\d[\d,]*(\.\d+)?(e[+-]?\d+)?")


@dataclass
class Command:
    """A block of commands, whether it runs here, and the lines shown as its output."""

    script: str
    runs: bool
    output: list[str]


def read_commands(path: Path) -> list[Command]:
    """Collect the bash blocks of a document, each with the text block right behind it."""
    commands: list[Command] = []
    end = 0
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["kind"] == "bash":
            commands.append(Command(match["body"], not match["note"], []))
            end = match.end()
        elif match["kind"] == "text" and not text[end : match.start()].strip():
            commands[-1].output = match["body"].splitlines()
    return commands


def masked(line: str) -> str:
    """The line without its numbers and spacing, which differ between machines."""
    return NUMBER.sub("#", " ".join(line.split()))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the files git knows, sharing the environment; downloads fail at once."""
    copy = tmp_path_factory.mktemp("fresh") / "ConvBERT-Prod"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=str(REPO_ROOT), text=True).split("\0"):
        source = REPO_ROOT / name
        if name and source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    (copy / ".venv").symlink_to(REPO_ROOT / ".venv")
    return copy


@pytest.mark.slow
def test_readme_commands_run_and_print_what_is_shown(checkout):
    commands = [command for command in read_commands(REPO_ROOT / "README.md") if command.runs]
    assert len(commands) >= 5
    unreachable = "http://127.0.0.1:9"  # the discard port: nothing listens
    env = {**os.environ, "PPNLP_HUB": unreachable, "PPNLP_HOME": str(checkout / "cache")}
    for command in commands:
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.script],
            cwd=str(checkout),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert run.returncode == 0, f"{command.script}\n{run.stdout[-3000:]}"
        printed = iter([masked(line) for line in run.stdout.splitlines()])
        for line in command.output:
            if line.strip() != "...":
                assert masked(line) in printed, f"{command.script}\nlacks: {line}\n{run.stdout}"


@pytest.mark.parametrize("name", ["README.md", "README_cn.md"])
def test_linked_files_exist(name):
    text = (REPO_ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^":]+)"', text)
    assert targets
    assert [target for target in targets if not (REPO_ROOT / target).exists()] == []


def test_chinese_readme_shows_the_same_commands():
    english = {command.script for command in read_commands(REPO_ROOT / "README.md")}
    chinese = {command.script for command in read_commands(REPO_ROOT / "README_cn.md")}
    assert chinese
    assert chinese <= english
