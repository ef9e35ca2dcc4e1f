"""Reading a configuration: each line is checked against its slot before anything runs."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import BUNDLED_MODELS, PRETRAINED_MODELS
from paddlenlp.utils.products import verify
from tipc.formats import AUTO, FORMATS, MODES, NULL, SCRIPT, SET_BY_RUNNER, TRAIN_BENCHMARK, Slot

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / "test_tipc" / "data"  # prepare.sh writes <model_name>/<part>
# Flags whose values are products of a run; a script in a configuration must not set them.
RUNNER_FLAGS = (
    "--output_dir",
    "--save_inference_dir",
    "--model_path",
    "--model_dir",
    "--save_results",
    "--output_npy",
    "--output_file",
)
INPUT_FLAG = re.compile(r"--?\w*(dir|dirname|file|path|logits)")  # their values must exist
LOST_LINE = "is a line missing before it?"


@dataclass(frozen=True)
class Entry:
    """One checked line."""

    line: int
    slot: Slot
    key: str
    value: str

    def by_mode(self) -> dict[str, str] | None:
        """The pairs of ``mode=value|mode=value``; None if the value is the same for all modes."""
        if not self.slot.by_mode or "=" not in self.value:
            return None
        parts = (part.partition("=") for part in self.value.split("|"))
        return {mode: value for mode, _, value in parts}

    def all_values(self) -> list[str]:
        """All values in the line, for any mode."""
        pairs = self.by_mode()
        if pairs is not None:
            return list(pairs.values())
        return self.value.split("|") if self.slot.many else [self.value]


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

    def values(self, name: str) -> list[str | None]:
        """All alternatives of a slot; None stands for null."""
        entry = self.entries[name]
        values, pairs = entry.all_values(), entry.by_mode()
        if pairs is not None:
            if self.mode not in pairs:
                message = f"no value for mode {self.mode}, only for {', '.join(pairs)}"
                raise self.fail(name, message)
            values = [pairs[self.mode]]
        return [None if value == NULL else value for value in values]

    def value(self, name: str) -> str | None:
        """The one value of a slot in this mode; None for null."""
        return self.values(name)[0]

    def input(self, name: str) -> str | None:
        """The path in a slot; None for null."""
        value = self.value(name)
        return self.existing(name, value) if value else None

    def flag(self, name: str) -> list[str]:
        """The slot as ``["--key=value"]``; empty if it is unused."""
        key, value = self.entries[name].key, self.value(name)
        if value and INPUT_FLAG.fullmatch(key):
            self.existing(name, value, key)
        return self.set(name, value)

    def set(self, name: str, value: str | Path | None) -> list[str]:
        """The flag of a slot with a value given by the runner; empty if either is unused."""
        key = self.entries[name].key
        return [] if key == NULL or value in (None, AUTO) else [f"{key}={value}"]

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
        path = Path(ROOT, value)
        published = flag.endswith("name_or_path") and value in (
            *BUNDLED_MODELS,
            *PRETRAINED_MODELS,
        )
        if published or path in self._verified:
            return value
        made = PREPARED in path.parents
        how = f"run bash test_tipc/prepare.sh {self.path} {self.mode}"
        if not path.exists():
            how = how if made else "give a file or directory that exists"
            raise self.fail(name, f"'{value}' does not exist: {how}", "file-missing")
        if made:
            part = path.relative_to(PREPARED).parts[:2]
            try:
                verify(PREPARED.joinpath(*part))
            except UserError as error:
                raise self.fail(name, f"{error}; {how}", error.code) from None
        self._verified.add(path)
        return value

    def fail(self, name: str, message: str, code: str = "tipc-config") -> UserError:
        """An error that names the line of a slot."""
        entry = self.entries[name]
        return UserError(code, f"{self.path}, line {entry.line} ({entry.slot.name}): {message}")


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
    if mode not in MODES[kind]:
        known = ", ".join(MODES[kind])
        raise UserError("tipc-config", f"unknown mode '{mode}': give one of {known}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("file-unreadable", f"cannot read configuration {path}: {error}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    slots = FORMATS[kind]
    if kind == "train_infer" and len(lines) > len(slots):
        slots = slots + TRAIN_BENCHMARK
    entries = {}
    for number, slot in enumerate(slots, start=1):
        try:
            if number > len(lines):
                raise ValueError(f"the file ends after line {len(lines)} of {len(slots)}")
            entry = _read_line(number, slot, lines[number - 1])
        except ValueError as error:
            where = f"{path}, line {number} ({slot.name})"
            raise UserError("tipc-config", f"{where}: {error}") from None
        entries[f"{number}" if slot.title else slot.name] = entry
    if len(lines) > len(slots):
        extra = f"line {len(slots) + 1}: one line too many, '{lines[len(slots)]}'"
        raise UserError("tipc-config", f"{path}, {extra}")
    return Config(path, mode, entries)


def _read_line(number: int, slot: Slot, line: str) -> Entry:
    if slot.title is not None:
        found = line.strip("=") == slot.title if slot.title else line == slot.name
        if not found:
            raise ValueError(f"expected the separator {slot.name}, found '{line}': {LOST_LINE}")
        return Entry(number, slot, line, NULL)
    key, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"expected key:value, found '{line}'")
    known = key in slot.key if slot.key else key == NULL or re.match(r"--?[A-Za-z]", key)
    if not known:
        wanted = f"{' or '.join(slot.key)}:..." if slot.key else "--flag:value or null:null"
        raise ValueError(f"expected {wanted}, found '{line}': {LOST_LINE}")
    if key == NULL and value not in (NULL, ""):
        raise ValueError(f"the value '{value}' has no key")
    entry = Entry(number, slot, key, value or NULL)
    _check_values(entry)
    return entry


def _check_values(entry: Entry) -> None:
    slot = entry.slot
    known = [mode for modes in MODES.values() for mode in modes]
    for mode in entry.by_mode() or ():
        if mode not in known:
            raise ValueError(f"'{mode}' is not a mode: give {', '.join(known)}")
    used = [value for value in entry.all_values() if value != NULL]
    if slot.needed and (entry.key == NULL or not (used or slot.rule is SET_BY_RUNNER)):
        raise ValueError(f"a value is needed, found '{entry.key}:{entry.value}'")
    for value in used:
        if not re.fullmatch(slot.rule.pattern, value):
            raise ValueError(f"'{value}' cannot be used: {slot.rule.hint}")
        if slot.rule is SCRIPT:
            _check_script(*shlex.split(value))


def _check_script(name: str, *flags: str) -> None:
    if name != "-m" and not (ROOT / name).is_file():
        raise ValueError(f"'{name}' does not exist in {ROOT}")
    for flag in (word.partition("=")[0] for word in flags):
        if flag in RUNNER_FLAGS:
            raise ValueError(
                f"remove {flag}: the runner sets it, so that output of an earlier run cannot be "
                "mistaken for output of this run"
            )
