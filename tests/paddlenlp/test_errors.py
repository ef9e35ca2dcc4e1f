"""The codes of UserError: the code base, the table in `CODES` and docs/errors.md agree."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from paddlenlp.utils.errors import CODES


@pytest.fixture(scope="module")
def raised(repo_root: Path) -> dict[str, list[str]]:
    """Places (file:line) where an error is made, by its code; "" where the code is computed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    places: dict[str, list[str]] = {}
    for name in subprocess.check_output(listed, cwd=repo_root, text=True).splitlines():
        if name.startswith("tests/") or not (repo_root / name).is_file():
            continue
        for node in ast.walk(ast.parse((repo_root / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("UserError"):
                first = node.args[0] if node.args else None
                code = first.value if isinstance(first, ast.Constant) else ""
                places.setdefault(code, []).append(f"{name}:{node.lineno}")
    return places


def test_every_error_has_a_known_code(raised):
    assert {code: where for code, where in raised.items() if code not in CODES} == {}


def test_every_code_is_used(raised):
    assert [code for code in CODES if code not in raised] == []


def test_the_page_of_errors_lists_every_code(repo_root: Path):
    page = (repo_root / "docs" / "errors.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.M)) == CODES
