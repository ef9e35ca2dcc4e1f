"""Reading a configuration, and checking its lines, interpreter, packages and GPUs before a run."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import BUNDLED_MODELS, PRETRAINED_MODELS
from paddlenlp.utils.products import MANIFEST_FILE, verify
from tipc import formats
from tipc.formats import ALL_MODES, NULL, TRAIN_MODES, Slot

PREPARED = ROOT / "test_tipc" / "data"  # prepare.sh writes <model_name>/<part>
LOST_LINE = "is a line missing before it?"
INPUT_FLAG = re.compile(r"--?\w*(dir|dirname|file|path|logits)")  # their values must exist
# Needed beside Paddle, for a kind of configuration or for one mode.
PACKAGES: dict[str, tuple[str, ...]] = {
    "klquant_whole_infer": ("openvino", "nncf"),
    "serving": ("paddle_serving_server",),
    "paddle2onnx": ("paddle2onnx", "onnxruntime", "onnx"),
}
CPU_VALUES = {"gpu_list": "-1", "use_gpu": "False", "device_type": "0"}
ANSWER_SECONDS = 120
# Arguments: whether to count the GPUs, and packages, which are only searched for, because importing
# takes seconds. A program that is not Python does not answer in this form.
QUESTION = """
import json, sys
if sys.version_info < (3, 10):
    missing = "Python 3.10 (it is %d.%d)" % sys.version_info[:2]
else:
    from importlib.util import find_spec
    missing = ", ".join(name for name in sys.argv[2:] if find_spec(name) is None)
gpus = 0
if sys.argv[1] == "True" and not missing:
    import paddle
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
print("answer:" + json.dumps([missing, gpus]))
"""


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
        """Return ``value``, a path that must exist; prepared files and products may not change."""
        path, published = Path(ROOT, value), (*BUNDLED_MODELS, *PRETRAINED_MODELS)
        if flag.endswith("name_or_path") and value in published:
            return value
        product, how = path, "give another file or directory"
        if PREPARED in path.parents:
            product = PREPARED.joinpath(*path.relative_to(PREPARED).parts[:2])
            how = f"run bash test_tipc/prepare.sh {self.path} {self.mode}"
        if not path.exists():
            raise self.fail(name, f"'{value}' does not exist: {how}", "file-missing")
        if (product / MANIFEST_FILE).is_file():
            try:
                verify(product)
            except UserError as error:
                raise self.fail(name, f"{error}; {how}", error.code) from None
        return value

    def fail(self, name: str, message: str, code: str = "tipc-config") -> UserError:
        """An error that names the line of a slot."""
        return UserError(code, f"{self.path}, line {self.entries[name].line} ({name}): {message}")


def read_config(path: str, kind: str, mode: str) -> Config:
    """Read and check a configuration for one mode of a kind (see `tipc.formats.MODES`).

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
    for number, (slot, line) in enumerate(zip_longest(slots, lines), start=1):
        name = getattr(slot, "name", slot or "end")
        try:
            if line is None:
                raise ValueError(f"the file ends after line {len(lines)} of {len(slots)}")
            if slot is None:
                raise ValueError(f"the format has only {len(slots)} lines: remove '{line}'")
            if isinstance(slot, Slot):
                key, values = _read_line(slot, line)
                entries[name] = Entry(number, key, values)
            elif line.strip("=") != slot:
                raise ValueError(f"expected the separator {slot}, found '{line}'; {LOST_LINE}")
        except ValueError as error:
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
        names = " or ".join(name for name in keys if name != NULL or not slot.needed)
        wanted = f"{names}:{slot.rule.words}{', not null' if slot.needed else ''}"
        hint = "" if colon and known else f"; {LOST_LINE}"
        raise ValueError(f"expected {wanted}; found '{line}'{hint}")
    if unknown := sorted(set(values) - set(ALL_MODES)):
        raise ValueError(f"'{unknown[0]}' is not a mode: give {', '.join(ALL_MODES)}")
    for value in used if slot.rule is formats.SCRIPT else ():
        script = shlex.split(value)[0]
        if script != "-m" and not (ROOT / script).is_file():
            raise ValueError(f"'{script}' does not exist in {ROOT}: correct its path")
    return key, values


def check_environment(config: Config, kind: str) -> None:
    """Check that the interpreter of a configuration runs and finds its packages and GPUs.

    Raises:
        UserError: "environment" or "device"; the message names the line and how to correct it.
    """
    packages = ("paddle", *PACKAGES.get(kind, ()), *PACKAGES.get(config.mode, ()))
    wanted = list(wanted_gpus(config, kind))
    missing, gpus = ask(config, packages, count_gpus=bool(wanted))
    python = config.value("python")
    if missing:
        setup = "bash shell/serving.sh setup"  # all of .venv except ONNX
        if kind == "paddle2onnx":
            setup += " && .venv/bin/pip install -r requirements-onnx.txt"
        raise config.fail("python", f"{python} does not find {missing}: run {setup}", "environment")
    for slot, value, count in wanted:
        if gpus < count:
            message = f"'{value}' needs {count} GPU(s), but the Paddle of {python} sees {gpus}"
            raise config.fail(slot, f"{message}: write '{CPU_VALUES[slot]}' for the CPU", "device")


def wanted_gpus(config: Config, kind: str) -> Iterator[tuple[str, str, int]]:
    """The slots of this mode that request GPUs: slot, value, number on this node."""
    if kind == "serving" and "1" in config.values("device_type"):
        yield "device_type", "1", 1
    if kind == "benchmark" or config.mode in TRAIN_MODES:
        for value in config.values("gpu_list"):
            cards = value.rpartition(";")[2].split(",")
            if cards[0] != "-1":
                yield "gpu_list", value, max(map(int, cards)) + 1
    if kind == "train_infer" and "True" in config.values("use_gpu"):
        yield "use_gpu", "True", 1


def ask(config: Config, packages: Sequence[str], count_gpus: bool = False) -> tuple[str, int]:
    """Ask the interpreter of a configuration which packages are missing, and for its GPUs."""
    command = [config.value("python"), "-c", QUESTION, str(count_gpus), *packages]
    options = {"capture_output": True, "text": True, "errors": "replace", "check": True}
    try:
        printed = subprocess.run(command, timeout=ANSWER_SECONDS, **options).stdout
        answer = printed.split("answer:")[1].splitlines()[0]  # Paddle prints other lines, too
        missing, gpus = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = getattr(error, "strerror", None) or getattr(error, "stderr", None)
        said = said or f"it does not answer like Python within {ANSWER_SECONDS} s"
        reason = " ".join(str(said).split())[-200:]
        message = f"'{command[0]}' does not run: {reason}; name an interpreter of this project"
        raise config.fail("python", message, "environment") from None
    return missing, gpus
