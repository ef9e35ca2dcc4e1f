"""What numbers depend on: the processor, the date and the commit, for every result file."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

# Names in /proc/cpuinfo of the instructions that matrix products use.
VECTORS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def machine() -> dict[str, str | int | list[str]]:
    """The processor's name, the cores this process may use, its vector instructions, the date."""
    fields = _cpu_fields()
    flags = fields.get("flags", "").split()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": fields.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "vectors": [name for name in VECTORS if name in flags],
        "python": platform.python_version(),
    }


def describe(record: dict[str, str | int | list[str]]) -> str:
    """One line of the fields above, for a document."""
    vectors = ", ".join(record["vectors"])
    return f"{record['processor']}, {record['cores']} cores ({vectors}), {record['date']}"


def commit() -> str:
    """The checked-out commit, and whether tracked files differ from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short=7", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with changes" if changed else head


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    run = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    return run.stdout.strip()


def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
