"""The checkout that this code belongs to: its folders and its git commit."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REVIEWS = ROOT / "data" / "reviews"  # in the format of SST-2, with a vocabulary
GIT_SECONDS = 30.0


@cache
def git(*arguments: str) -> str | None:
    """Return what a git command prints about this checkout; None without git, or if it fails."""
    if not (ROOT / ".git").exists():  # git would look in the folders above
        return None
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
