"""Typed command-line flags, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from paddlenlp.utils.errors import UserError

DEFAULT_SENTENCE = "the problem , it is with most of these things , is the script ."


def bool_flag(value: str) -> bool:
    """Parse ``true/false/1/0/yes/no``; anything else is an error rather than a silent False."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "y", "t"):
        return True
    if word in ("false", "0", "no", "n", "f"):
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is not a boolean: use True or False")


def add_bool_flag(parser: argparse.ArgumentParser, name: str, default: bool, help: str) -> None:
    """Add a flag usable as ``--x``, ``--x True`` and ``--x=False``."""
    parser.add_argument(
        name, type=bool_flag, nargs="?", const=True, default=default, metavar="BOOL", help=help
    )


def int_at_least(minimum: int, maximum: int = 2**63 - 1) -> Callable[[str], int]:
    """Return an argparse type for integers from ``minimum`` to ``maximum`` (default: int64)."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{value}' is not an integer") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is too small: at least {minimum}")
        if number > maximum:
            raise argparse.ArgumentTypeError(f"{number} is too large: at most {maximum}")
        return number

    return parse


def float_in(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for finite floats in the closed interval ``[low, high]``."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{value}' is not a number") from None
        if not low <= number <= high:  # also refuses nan
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return number

    return parse


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the long list of flags."""

    def error(self, message: str):
        """Refuse a command line; `run_main` prints the line and exits with 2."""
        raise UserError("command-line", f"{message} (--help lists the flags)")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of an entry script; flags cannot be abbreviated."""
    return OneLineParser(description=description, allow_abbrev=False)


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--device gpu|cpu``; without it the GPU is taken where Paddle sees one."""
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), help="default: gpu where Paddle sees one, else cpu"
    )
