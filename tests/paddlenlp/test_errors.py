"""The codes of UserError: the code base, `CODES` and docs/errors.md agree."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from paddlenlp.utils.errors import CODES, UserError


@pytest.fixture(scope="module")
def code_base(repo_root: Path) -> dict[str, ast.Module]:
    """The parsed modules outside the tests and outside the table itself, by their path."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.check_output(listed, cwd=repo_root, text=True).splitlines()
    return {
        name: ast.parse((repo_root / name).read_text(encoding="utf-8"))
        for name in names
        if not name.startswith("tests/")
        and name != "paddlenlp/utils/errors.py"
        and (repo_root / name).is_file()
    }


def constants(node: ast.AST) -> set[str]:
    """The strings in a piece of code."""
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}


def test_every_error_has_a_known_code(code_base):
    calls = [
        (f"{name}:{node.lineno}", node.args[0])
        for name, module in code_base.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("UserError")
    ]
    assert len(calls) > 100
    # A code that is passed through a variable is checked when the error is made.
    codes = {place: code.value for place, code in calls if isinstance(code, ast.Constant)}
    assert {place: code for place, code in codes.items() if code not in CODES} == {}
    with pytest.raises(AssertionError):
        UserError("no-such-code", "message")


def test_every_code_is_used(code_base):
    used = set().union(*map(constants, code_base.values()))
    assert [code for code in CODES if code not in used] == []


@pytest.mark.parametrize("page", ["errors.md", "errors_cn.md"])
def test_the_pages_explain_every_code(repo_root: Path, page):
    text = (repo_root / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", text, re.M)
    assert sorted(code for code, _ in rows) == sorted(CODES)
