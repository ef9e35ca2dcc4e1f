"""Checks of a `UserError`: its code and the facts it names, never its wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paddlenlp.utils.errors import UserError


@contextmanager
def raises_code(code: str, *facts: object) -> Iterator[None]:
    """Expect a `UserError` with this code, in one line that contains the facts."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert caught.value.code == code, f"[{caught.value.code}] {message}"
    assert "\n" not in message
    for fact in facts:
        assert str(fact) in message


def assert_refused(done, code: str, *facts: object) -> None:
    """Check that a script ended with status 2 and one error line with this code and these facts.

    Args:
        done: a finished `subprocess.run` with text output.
        code: what stands in brackets at the end of the line.
        facts: what the line contains.
    """
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert len(errors) == 1, done.stderr
    assert errors[0].endswith(f" [{code}]"), errors[0]
    for fact in facts:
        assert str(fact) in errors[0]
