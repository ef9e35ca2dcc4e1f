"""A full disk, a limit on file sizes and a read-only folder: one line, and nothing half-written."""

from __future__ import annotations

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
CHECKPOINT, EXPORT = "CHECKPOINT", "EXPORT"
COMMANDS = {
    "export": f"tools/export_model.py --model_path {CHECKPOINT} --save_inference_dir OUT/infer",
    "convert": f"tools/export_serving_model.py --dirname {EXPORT} --serving_server OUT/server "
    "--serving_client OUT/client",
    "infer": f"deploy/inference_python/infer.py --model_dir {EXPORT} --input_file texts.txt "
    "--output_file OUT/labels.jsonl",
    "quantize": f"tools/quantize_model.py --model_dir {EXPORT} --calib_file texts.txt --dev_file "
    "dev.tsv --save_inference_dir OUT/int8",
}
QUICK = ("convert",)


def can_mount() -> bool:
    """Whether this process may mount in a name space of its own."""
    command = ["unshare", "--mount", "true"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_fault_is_one_line(
    repo_root, tmp_path, tiny_checkpoint, tiny_export, amount, name, fault
):
    if not amount("kills") and name not in QUICK:
        pytest.skip("give --kills")
    if not can_mount():
        pytest.skip("needs the right to mount")
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "texts.txt").write_text("a good film .\n" * 2000)
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nbad\t0\n")
    places = {CHECKPOINT: tiny_checkpoint, EXPORT: tiny_export, "OUT": out}
    words = []
    for word in shlex.split(COMMANDS[name]):
        for place, path in places.items():
            word = word.replace(place, str(path))
        words.append(word)
    # What is left is listed inside, because the mount ends with the command.
    line = FAULTS[fault].replace("OUT", shlex.quote(str(out)))
    script = f'{line} && "$@"; status=$?; ls -A {shlex.quote(str(out))}; exit $status'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "fault", sys.executable]
        + [str(repo_root / words[0]), *words[1:]],
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
    left = [line for line in done.stdout.splitlines() if not line.startswith("text: ")]
    assert not {"infer", "server", "client", "labels.jsonl", "int8"} & set(left)
    print(f"\n{name}, {fault}: {errors[0]}")
