"""Repair of text that is not valid Unicode."""


def without_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates by U+FFFD.

    JSON and command lines can contain them; UTF-8 output and the tokenizer do not accept them.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
