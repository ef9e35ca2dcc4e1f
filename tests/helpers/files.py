"""Writing files of a small copy of the checkout."""

from pathlib import Path


def write_below(folder: Path, name: str, text: str) -> Path:
    """Write a text file below a folder, which anyone may execute; return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
