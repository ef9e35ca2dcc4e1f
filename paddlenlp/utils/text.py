"""What every reader of text has to mend before it is text."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """Join surrogate pairs and put U+FFFD for lone surrogates.

    JSON and command lines can hold them; no UTF-8 message and no tokenizer takes them.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
