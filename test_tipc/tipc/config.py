"""Reading a configuration: each line is checked against its slot before anything runs."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import BUNDLED_MODELS, PRETRAINED_MODELS
from paddlenlp.utils.products import verify
from tipc import formats
from tipc.formats import ALL_MODES, NULL, Slot

PREPARED = ROOT / "test_tipc" / "data"  # prepare.sh writes <model_name>/<part>
INPUT_FLAG = re.compile(r"--?\w*(dir|dirname|file|path|logits)")  # their values must exist


@dataclass(frozen=True)
class Entry:
    """One checked line; ``values`` has the alternatives for each mode."""

    line: int
    key: str
    values: dict[str, list[str]]


@dataclass(frozen=True)
class Config:
    """A checked configuration: slot names (see `tipc.formats`) to values, for one mode.

    Methods that read a value raise a `UserError` naming the line if it has no value for the mode or
    names a file that does not exist.
    """

    path: str
    mode: str
    entries: dict[str, Entry]
    _verified: set[Path] = field(default_factory=set)

    def key(self, name: str) -> str:
        """The word before the colon."""
        return self.entries[name].key

    def values(self, name: str) -> list[str | None]:
        """All alternatives of a slot; None stands for null."""
        values = self.entries[name].values
        if self.mode not in values:
            raise self.fail(name, f"no value for mode {self.mode}, only for {', '.join(values)}")
        return [None if value == NULL else value for value in values[self.mode]]

    def value(self, name: str) -> str | None:
        """The one value of a slot in this mode; None for null."""
        return self.values(name)[0]

    def input(self, name: str) -> str | None:
        """The path in a slot; None for null."""
        value = self.value(name)
        return self.existing(name, value) if value else None

    def flag(self, name: str) -> list[str]:
        """The slot as ``["--key=value"]``; empty if it is unused."""
        key, value = self.key(name), self.value(name)
        if value and INPUT_FLAG.fullmatch(key):
            self.existing(name, value, key)
        return self.set(name, value)

    def set(self, name: str, value: str | Path | None) -> list[str]:
        """The flag of a slot with a value given by the runner; empty if either is unused."""
        key = self.key(name)
        return [] if key == NULL or value in (None, formats.AUTO) else [f"{key}={value}"]

    def script(self, name: str) -> list[str]:
        """The words of a script and its flags, with quotes as in a shell."""
        words = shlex.split(self.value(name) or "")
        for word, following in zip(words, [*words[1:], ""]):
            flag, equals, value = word.partition("=")
            if INPUT_FLAG.fullmatch(flag):
                self.existing(name, value if equals else following, flag)
        return words

    def existing(self, name: str, value: str, flag: str = "") -> str:
        """Return ``value``, a path that must exist and, if prepared, must not have changed.

        Raises:
            UserError: "file-missing" or "file-damaged", with the line.
        """
        path, published = Path(ROOT, value), (*BUNDLED_MODELS, *PRETRAINED_MODELS)
        if path in self._verified or (flag.endswith("name_or_path") and value in published):
            return value
        made = PREPARED in path.parents
        how = f"run bash test_tipc/prepare.sh {self.path} {self.mode}"
        if not path.exists():
            how = how if made else "give a file or directory that exists"
            raise self.fail(name, f"'{value}' does not exist: {how}", "file-missing")
        if made:
            try:
                verify(PREPARED.joinpath(*path.relative_to(PREPARED).parts[:2]))
            except UserError as error:
                raise self.fail(name, f"{error}; {how}", error.code) from None
        self._verified.add(path)
        return value

    def fail(self, name: str, message: str, code: str = "tipc-config") -> UserError:
        """An error that names the line of a slot."""
        return UserError(code, f"{self.path}, line {self.entries[name].line} ({name}): {message}")


def read_config(path: str, kind: str, mode: str) -> Config:
    """Read and check a configuration for one mode.

    Args:
        path: the file.
        kind: a key of `tipc.formats.FORMATS`.
        mode: one of `tipc.formats.MODES`.

    Raises:
        UserError: the mode is unknown, the file does not exist, or a line does not fit its position
            (with its number).
    """
    if mode not in formats.MODES[kind]:
        known = ", ".join(formats.MODES[kind])
        raise UserError("tipc-config", f"unknown mode '{mode}': give one of {known}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("file-unreadable", f"cannot read configuration {path}: {error}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    slots = formats.FORMATS[kind]
    if kind == "train_infer" and len(lines) > len(slots):
        slots = formats.FORMATS["benchmark"]
    entries = {}
    for number, (slot, line) in enumerate(zip_longest(slots, lines, fillvalue="end"), start=1):
        try:
            if isinstance(slot, Slot):
                entries[slot.name] = Entry(number, *_read_line(slot, line))
            elif line.strip("=") != slot:
                raise ValueError(f"expected {slot}, found '{line}'")
        except ValueError as error:
            name = getattr(slot, "name", slot)
            raise UserError("tipc-config", f"{path}, line {number} ({name}): {error}") from None
    return Config(path, mode, entries)


def _read_line(slot: Slot, line: str) -> tuple[str, dict[str, list[str]]]:
    """The key of a line, and its values for each mode."""
    key, colon, text = line.partition(":")
    text = text or NULL
    if slot.by_mode and "=" in text:
        pairs = [part.partition("=") for part in text.split("|")]
        values = {mode: [value] for mode, _, value in pairs}
    else:
        values = dict.fromkeys(ALL_MODES, text.split("|") if slot.many else [text])
    used = [value for each in values.values() for value in each if value != NULL]

    keys = slot.keys or (slot.name,)
    known = key in keys or (keys is formats.ANY_FLAG and re.match("--?[A-Za-z]", key))
    allowed = all(re.fullmatch(slot.rule.pattern, value) for value in used)
    if key == NULL:
        complete = not used and not slot.needed
    else:
        complete = used or not slot.needed or slot.rule is formats.SET_BY_RUNNER
    if not (colon and known and allowed and complete):
        wanted = f"{' or '.join(keys)}:{slot.rule.words}{', not null' if slot.needed else ''}"
        raise ValueError(f"expected {wanted}; found '{line}': is a line missing before it?")
    if unknown := set(values) - set(ALL_MODES):
        raise ValueError(f"'{unknown.pop()}' is not a mode: give {', '.join(ALL_MODES)}")
    for value in used if slot.rule is formats.SCRIPT else ():
        script = shlex.split(value)[0]
        if script != "-m" and not (ROOT / script).is_file():
            raise ValueError(f"'{script}' does not exist in {ROOT}")
    return key, values
