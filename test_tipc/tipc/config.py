"""Reading a configuration: every line is checked against its slot before anything runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paddlenlp.utils.errors import UserError
from tipc.slots import (
    AUTO,
    BENCHMARK_MODE,
    BENCHMARK_SLOTS,
    FORMATS,
    MODES,
    NULL,
    TRAIN_BENCHMARK,
    TRAIN_MODES,
    Slot,
    set_by_runner,
)

SEPARATOR = "##"
LOST = "is a line missing before it?"


@dataclass(frozen=True)
class Entry:
    """One checked line."""

    line: int
    slot: Slot
    key: str
    value: str


@dataclass(frozen=True)
class Config:
    """A checked configuration, asked by slot name (see `tipc.slots`) for one mode."""

    path: str
    mode: str
    entries: dict[str, Entry]

    def values(self, name: str) -> list[str | None]:
        """All alternatives of a slot; None stands for null."""
        entry = self.entries[name]
        return [None if part == NULL else part for part in _values_in(entry, self.mode)]

    def value(self, name: str) -> str | None:
        """The one value of a slot in this mode; None for null."""
        return self.values(name)[0]

    def flag(self, name: str, value: str | None = None) -> list[str]:
        """The slot as ``["--key=value"]``; empty where it is unused. ``value`` fills ``auto``."""
        entry = self.entries[name]
        value = self.value(name) if value is None else value
        if entry.key == NULL or value is None or value == AUTO:
            return []
        return [f"{entry.key}={value}"]

    def fail(self, name: str, message: str) -> UserError:
        """An error that points at the line of a slot."""
        entry = self.entries[name]
        return UserError(
            "tipc-config", f"{self.path}, line {entry.line} ({entry.slot.name}): {message}"
        )


def check_mode(kind: str, mode: str) -> None:
    """Refuse an unknown mode before anything else is looked at.

    Raises:
        UserError: with the list of modes.
    """
    if mode not in MODES[kind]:
        raise UserError(
            "tipc-config", f"unknown mode '{mode}': give one of {', '.join(MODES[kind])}"
        )


def read_config(path: str, kind: str, mode: str) -> Config:
    """Read and check a configuration for one mode.

    Args:
        path: the file.
        kind: a key of `tipc.slots.FORMATS`.
        mode: one of `tipc.slots.MODES`.

    Raises:
        UserError: unknown mode; no such file; or a line that is not what its position demands,
            with its number.
    """
    check_mode(kind, mode)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("file-unreadable", f"cannot read configuration {path}: {error}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    slots = FORMATS[kind]
    if kind == "train_infer" and len(lines) > len(slots):
        slots = slots + TRAIN_BENCHMARK
    entries: dict[str, Entry] = {}
    for number, slot in enumerate(slots, start=1):
        where = f"{path}, line {number} ({slot.name})"
        if number > len(lines):
            raise UserError(
                "tipc-config", f"{where}: the file ends after line {len(lines)} of {len(slots)}"
            )
        entry = _read_line(where, number, slot, lines[number - 1])
        _check_values(where, entry, mode)
        entries[f"{number}" if slot.title else slot.name] = entry
    if len(lines) > len(slots):
        raise UserError(
            "tipc-config",
            f"{path}, line {len(slots) + 1}: one line too many, '{lines[len(slots)]}'",
        )
    return Config(path, mode, entries)


def _read_line(where: str, number: int, slot: Slot, line: str) -> Entry:
    if slot.title is not None:
        wanted = f"==={slot.title}===" if slot.title else SEPARATOR
        found = line.strip("=") == slot.title if slot.title else line == SEPARATOR
        if not found:
            raise UserError(
                "tipc-config", f"{where}: expected the separator {wanted}, found '{line}': {LOST}"
            )
        return Entry(number, slot, line, NULL)
    key, colon, value = line.partition(":")
    if not colon:
        raise UserError("tipc-config", f"{where}: expected key:value, found '{line}'")
    if slot.key and key not in slot.key:
        raise UserError(
            "tipc-config", f"{where}: expected {' or '.join(slot.key)}:..., found '{line}': {LOST}"
        )
    if not slot.key and key != NULL and not re.match(r"--?[A-Za-z]", key):
        raise UserError(
            "tipc-config", f"{where}: expected --flag:value or null:null, found '{line}': {LOST}"
        )
    if key == NULL and value not in (NULL, ""):
        raise UserError("tipc-config", f"{where}: the value '{value}' has no key")
    return Entry(number, slot, key, value or NULL)


def _check_values(where: str, entry: Entry, mode: str) -> None:
    if entry.slot.title is not None:
        return
    if "=" in entry.value and entry.slot.by_mode:
        _check_modes(where, entry, mode)
    used = [part for part in _all_values(entry) if part != NULL]
    filled_later = entry.slot.rule is set_by_runner
    if entry.slot.needed and (entry.key == NULL or not (used or filled_later)):
        raise UserError(
            "tipc-config", f"{where}: a value is needed, found '{entry.key}:{entry.value}'"
        )
    for part in used:
        try:
            entry.slot.rule(part)
        except ValueError as error:
            raise UserError("tipc-config", f"{where}: '{part}' cannot be used: {error}") from None


def _check_modes(where: str, entry: Entry, mode: str) -> None:
    known = [name for names in MODES.values() for name in names]
    given = list(_by_mode(entry))
    for name in given:
        if name not in known:
            raise UserError("tipc-config", f"{where}: '{name}' is no mode: give {', '.join(known)}")
    used = TRAIN_MODES + ((BENCHMARK_MODE,) if entry.slot.name in BENCHMARK_SLOTS else ())
    if mode not in given and mode in used:
        raise UserError(
            "tipc-config", f"{where}: no value for mode {mode}, only for {', '.join(given)}"
        )


def _by_mode(entry: Entry) -> dict[str, str]:
    """The pairs of ``mode=value|mode=value``; a part without ``=`` has itself as mode."""
    parts = (part.partition("=") for part in entry.value.split("|"))
    return {mode: value for mode, _, value in parts}


def _all_values(entry: Entry) -> list[str]:
    """Every value that stands in an entry, whatever the mode."""
    if entry.slot.by_mode and "=" in entry.value:
        return list(_by_mode(entry).values())
    return entry.value.split("|") if entry.slot.many else [entry.value]


def _values_in(entry: Entry, mode: str) -> list[str]:
    """The alternatives of an entry, or its value for ``mode`` (null where it has none)."""
    if entry.slot.by_mode and "=" in entry.value:
        return [_by_mode(entry).get(mode, NULL)]
    return _all_values(entry)
