"""What the tests of the engines and of quantization share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def exported(tiny_export) -> Path:
    """An exported program that all engines read."""
    if not (tiny_export / "inference.pdmodel").is_file():
        pytest.skip("this Paddle writes no .pdmodel")
    return tiny_export
