"""The lock files fit the requirements files, have hashes, and name no server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LOCK = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>\S+) (; .+ )?\\$", re.MULTILINE)
REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)", re.MULTILINE)


def requirements(file: Path) -> set[tuple[str, str]]:
    """Names and versions of a requirements file."""
    found = REQUIREMENT.findall(file.read_text(encoding="utf-8"))
    return {(name.lower().replace("_", "-"), version) for name, version in found}


def test_each_lock_fits_its_requirements(repo_root):
    base = requirements(repo_root / "requirements-base.txt")
    wanted = {path.name: requirements(path) for path in repo_root.glob("requirements*.txt")}
    del wanted["requirements-base.txt"]
    wanted["requirements.txt"] |= base
    wanted["requirements-paddle3.txt"] |= base
    locks = {
        path.name: path.read_text(encoding="utf-8") for path in (repo_root / "locks").iterdir()
    }
    assert set(locks) == set(wanted)
    locked = {
        name: {(found["name"], found["version"]) for found in LOCK.finditer(text)}
        for name, text in locks.items()
    }
    for name, text in locks.items():
        # What requirements-base.txt needs is left out of what is added to an environment.
        missing = wanted[name] - locked[name] - locked["requirements.txt"]
        assert not missing, f"locks/{name} is old: run bash shell/lock.sh"
        assert text.count("--hash=sha256:") >= len(LOCK.findall(text)) > 0
        assert "://" not in text


AUDIT = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --output ] && report=$2; shift; done
{}
"""


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ("exit 0", 0),
        ("echo flask PYSEC-1 >$report; exit 1", 1),
        ("echo unreachable >&2; exit 1", 2),
    ],
)
def test_an_audit_that_could_not_look_says_so(repo_root, tmp_path, found, status):
    (tmp_path / "shell").mkdir()
    for name in ("_env.sh", "packages.sh"):
        (tmp_path / "shell" / name).write_text((repo_root / "shell" / name).read_text())
    (tmp_path / "requirements-tools.txt").touch()
    for venv, tool, script in (
        (".venv", "python", "#!/bin/sh\n"),
        (".venv-tools", "python", "#!/bin/sh\n"),
        (".venv-tools", "pip-audit", AUDIT.format(found)),
    ):
        path = tmp_path / venv / "bin" / tool
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    done = subprocess.run(
        ["bash", str(tmp_path / "shell" / "packages.sh"), "audit"], capture_output=True, text=True
    )
    assert done.returncode == status
    assert ("flask" in done.stdout) == (status == 1)
    assert ("unreachable" in done.stderr) == (status == 2)
