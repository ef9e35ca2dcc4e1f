"""The git commit of the checkout, and a copy of the code without git."""

import re

import pytest

from paddlenlp.utils import checkout


@pytest.fixture(autouse=True)
def _forget():
    checkout.git.cache_clear()
    yield
    checkout.git.cache_clear()


def test_the_commit_of_this_checkout():
    if not (checkout.ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert re.fullmatch("[0-9a-f]{40}", checkout.git("rev-parse", "HEAD"))
    assert checkout.git("no-such-command") is None


def test_a_copy_inside_another_checkout_has_no_commit(monkeypatch):
    monkeypatch.setattr(checkout, "ROOT", checkout.ROOT / "paddlenlp")
    assert checkout.git("rev-parse", "HEAD") is None
