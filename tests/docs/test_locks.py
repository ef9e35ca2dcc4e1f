"""The lock files fit the requirements files, have hashes, and name no server."""

import re
import subprocess

import pytest
from packaging.markers import Marker

from tests.helpers.files import write_below

PIN = re.compile(r"^([\w.-]+)==([^\s;#]+)(?:\s*;\s*([^\\#\n]+))?", re.MULTILINE)
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def pins(text: str, python: str) -> set[tuple[str, str]]:
    """Names and versions in a requirements file or lock that a version of Python installs."""
    machine = {"sys_platform": "linux", "platform_machine": "x86_64"}
    machine |= {"python_version": python, "python_full_version": f"{python}.1"}
    return {
        (name.lower().replace("_", "-"), version)
        for name, version, marker in PIN.findall(text)
        if not marker or Marker(marker).evaluate(machine)
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_each_lock_fits_its_requirements(repo_root, python):
    files = {path.name: path.read_text("utf-8") for path in repo_root.glob("requirements*.txt")}
    base = files.pop("requirements-base.txt")
    locks = {path.name: path.read_text("utf-8") for path in (repo_root / "locks").iterdir()}
    assert set(locks) == set(files)
    for name, text in locks.items():
        wanted = pins(files[name], python)
        if name in ("requirements.txt", "requirements-paddle3.txt"):
            wanted |= pins(base, python)
        # What requirements-base.txt needs is left out of what is added to an environment.
        missing = wanted - pins(text, python) - pins(locks["requirements.txt"], python)
        assert not missing, f"locks/{name} is old: run bash shell/lock.sh"
        assert text.count("--hash=sha256:") >= len(PIN.findall(text)) > 0
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
    for name in ("shell/_env.sh", "shell/packages.sh"):
        write_below(tmp_path, name, (repo_root / name).read_text())
    write_below(tmp_path, "requirements-tools.txt", "")
    for name in (".venv/bin/python", ".venv-tools/bin/python"):
        write_below(tmp_path, name, "#!/bin/sh\n")
    write_below(tmp_path, ".venv-tools/bin/pip-audit", AUDIT.format(found))
    command = ["bash", tmp_path / "shell" / "packages.sh", "audit"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status
    assert ("flask" in done.stdout) == (status == 1)
    assert ("unreachable" in done.stderr) == (status == 2)
