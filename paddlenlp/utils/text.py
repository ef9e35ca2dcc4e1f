"""Text that is not valid Unicode, or that has no visible characters."""

from unicodedata import category

# Letters and a symbol in Unicode that are blank: the Hangul fillers and the empty Braille pattern.
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"


def without_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates with U+FFFD.

    JSON can contain them; UTF-8 output and the tokenizer do not accept them.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def argument_text(argument: str) -> str:
    """Read a command-line argument as UTF-8, even if the locale has another encoding.

    Bytes that are not UTF-8 become U+FFFD.
    """
    try:  # Python passes undecodable bytes as lone surrogates
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return without_surrogates(argument)


def is_blank(text: str) -> bool:
    """Whether a text is blank: only spaces, control and format characters, lone accents.

    A tokenizer removes most of these, but turns the fillers into [UNK].
    """
    for character in text:  # ends at the first visible one, usually the first
        kind = category(character)
        if character not in _FILLERS and kind[0] not in "CZ" and kind != "Mn":
            return False
    return True
