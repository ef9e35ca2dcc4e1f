"""The direction of imports: pyproject.toml states it, CONTRIBUTING.md draws it."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports


def test_imports_go_one_way(repo_root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(repo_root)
    assert lint_imports("pyproject.toml", no_cache=True) == 0


def test_every_folder_is_checked(repo_root: Path):
    # import-linter skips a folder without __init__.py silently.
    packages = read_configuration(str(repo_root / "pyproject.toml"))["session_options"]
    folders = {
        path.parent
        for name in packages["root_packages"]
        for path in (repo_root / name).rglob("*.py")
    }
    assert folders
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
