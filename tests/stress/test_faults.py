"""A full disk, a limit on file sizes and a read-only folder: one line, and nothing half-written."""

import os
import shlex
import subprocess
import sys

import pytest

# Each is a shell line that makes the folder OUT unfit and then runs the command in "$@".
FAULTS = {
    "full disk": "mount -t tmpfs -o size=16k tmpfs OUT",
    "file-size limit": "ulimit -f 8",
    "read-only folder": "mount -t tmpfs -o ro tmpfs OUT",
}


def can_mount() -> bool:
    """Whether this process may mount in a name space of its own."""
    command = ["unshare", "--mount", "true"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["export", "convert", "infer", "quantize"])
def test_a_fault_is_one_line(repo_root, tmp_path, commands, amount, name, fault):
    if not amount("kills") and name != "convert":
        pytest.skip("give --kills")
    if not can_mount():
        pytest.skip("needs the right to mount")
    out = tmp_path / "out"
    out.mkdir()
    script, *flags = map(str, commands[name].argv(out))
    # What is left is listed inside, because the mount ends with the command.
    line = FAULTS[fault].replace("OUT", shlex.quote(str(out)))
    bash = f'{line} && "$@"; status=$?; ls -A {shlex.quote(str(out))}; exit $status'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", bash, "fault", sys.executable]
        + [str(repo_root / script), *flags],
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1, done.stderr
    assert str(out) in errors[0]
    assert not set(commands[name].products) & set(done.stdout.splitlines())
    print(f"\n{name}, {fault}: {errors[0]}")
