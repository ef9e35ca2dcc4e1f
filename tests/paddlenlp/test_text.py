"""Text that is not valid Unicode, or that shows nothing."""

import pytest

from paddlenlp.utils.text import argument_text, is_blank


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
        ("caf\udce9", "caf\ufffd"),  # a byte that is not UTF-8
        ("caf\udcc3\udca9", "caf\u00e9"),  # UTF-8 in a locale with another encoding
        ("\ud83d\ude00 \ud800", "\U0001f600 \ufffd"),
    ],
)
def test_arguments_are_utf8(argument, text):
    assert argument_text(argument) == text


def test_blank_texts():
    assert all(map(is_blank, ["", " \t", "\u200b\ufeff", "\u3164", "\u2800 \u115f", "\u0301"]))
    assert not any(map(is_blank, ["a", "\u3164!", "\u597d", "\U0001f600", "e\u0301"]))
