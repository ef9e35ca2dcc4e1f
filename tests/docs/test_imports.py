"""The direction of imports: pyproject.toml states it, CONTRIBUTING.md draws it."""

from pathlib import Path

from importlinter.api import read_configuration

from tests.conftest import run_python


def test_imports_go_one_way():
    # In a process of its own: import-linter's logging setup disables all other loggers.
    code = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_module_names_are_unique(repo_root: Path):
    names = [path.stem for path in (repo_root / "convbert").rglob("*.py") if path.stem[0] != "_"]
    assert len(names) > 40
    assert sorted(set(names)) == sorted(names)
