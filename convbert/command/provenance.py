"""What a measured number depends on: the machine, the versions, the commit and the date."""

import platform
import time
from typing import Any

from convbert.command.machine import cpu_fields, default_threads
from paddlenlp.utils.checkout import git

# Name of a processor feature in our tables -> its names in /proc/cpuinfo (any of them).
FEATURES = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "bf16": {"avx512_bf16"},
    "AMX": {"amx_tile"},
}


def provenance(**versions: str) -> dict[str, Any]:
    """Return the record that every result file begins with, with the versions of packages.

    Its commit is "unknown" without git, and says whether tracked files differ from it.
    """
    head = git("rev-parse", "--short=7", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": f"{head or 'unknown'}{' with changes' if changed else ''}",
        **processor(),
        "versions": {"python": platform.python_version(), **versions},
    }


def processor() -> dict[str, Any]:
    """Return the processor's name, the cores this process may use, and which features it has."""
    fields = cpu_fields()
    flags = set(fields.get("flags", "").split())
    return {
        "processor": fields.get("model name", platform.machine()),
        "cores": default_threads(),
        "features": {feature: bool(names & flags) for feature, names in FEATURES.items()},
    }


def describe(record: dict[str, Any]) -> str:
    """Return the machine, date and commit of a record as one line."""
    has = ", ".join(name if found else f"no {name}" for name, found in record["features"].items())
    return (
        f"{record['processor']}, {record['cores']} cores ({has}), {record['date']}, "
        f"commit {record['commit']}"
    )
