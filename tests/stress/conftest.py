"""Options of the stress tests. They are known only when a file of this folder is named."""

from __future__ import annotations

import random

import pytest

# Option: what it counts, and its value in CI. 0 kills: one for each of the quick commands only.
AMOUNTS = {
    "kills": ("kill -9 for each command", 0),
    "messages": ("hostile messages over HTTP, and as many over gRPC", 60),
    "seconds": ("seconds of load", 4),
    "seed": ("of all random choices", 0),
}


def pytest_addoption(parser):
    """Add one option for each amount."""
    for name, (description, value) in AMOUNTS.items():
        parser.addoption(f"--{name}", type=int, default=value, help=description)


@pytest.fixture
def amount(request):
    """Return ``amount(name)``: the value of an option."""
    return lambda name: request.config.getoption(f"--{name}", AMOUNTS[name][1])


@pytest.fixture
def rng(amount):
    """Random numbers of the seed."""
    return random.Random(amount("seed"))
