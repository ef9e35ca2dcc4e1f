"""Arrays from pickles, without running any code in them.

Python's own unpickler, in its version written in Python, gets a short list of functions and
instructions. Time and memory are proportional to the file: the version in C needs 4 GB for a file
of 9 bytes that names a large memo slot, and both do not terminate on some short nested keys.
"""

import mmap
import pickle
import pickletools
import re
from typing import Any, BinaryIO

import numpy as np

from paddlenlp.utils.files import PathLike

# A checkpoint of 1,000 tensors needs about 50,000.
MAX_INSTRUCTIONS = 1_000_000
_DTYPE = re.compile(r"(b1|[iuf][1248]|f16|O8?)")
_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
    EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_INSTRUCTIONS = frozenset(_NAMES.split())


class UnsafePickle(ValueError):
    """The pickle is damaged, or describes something other than arrays by name."""


class _Dtype:
    """Stands for ``numpy.dtype``; its state is the byte order."""

    def __init__(self, kind: Any, *_: Any):
        if not isinstance(kind, str) or not _DTYPE.fullmatch(kind):
            raise UnsafePickle(f"it has numbers of type {str(kind)[:40]!r}")
        self.numpy = np.dtype(kind)

    def set_state(self, state: tuple) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """Stands for ``numpy.ndarray``; made only by `value`, so that repeated use needs no memory."""

    def __init__(self, content: Any = b"", dtype: Any = None, shape: Any = (), order: str = "C"):
        self._state = content, dtype, shape, order

    def set_state(self, state: tuple) -> None:
        shape, dtype, fortran, content = state[-4:]
        self._state = content, dtype, shape, "F" if fortran else "C"

    def value(self) -> Any:
        """Return the array, or the list of the objects in an array of objects."""
        content, dtype, shape, order = self._state
        if dtype.numpy.kind == "O":
            return content
        if isinstance(content, str):  # bytes of protocol 2, or of Python 2
            content = content.encode("latin1")
        flat = np.frombuffer(content, dtype.numpy) if content else np.empty(0, dtype.numpy)
        return flat.reshape(shape, order=order)


def _bytes_as_text(text: str, encoding: str) -> str:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickle("it would encode something other than bytes")
    return text  # `_Array.value` encodes it, only once


def _empty_dict() -> dict[str, Any]:
    return {}


_FUNCTIONS = {
    "collections.OrderedDict": _empty_dict,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": None,  # only an argument
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.numeric._frombuffer": _Array,
    "_codecs.encode": _bytes_as_text,
}


class _Unpickler(pickle._Unpickler):
    """Checks what Python's unpickler would call, use as a key, or change."""

    dispatch = {
        code: function
        for code, function in pickle._Unpickler.dispatch.items()
        if pickletools.code2op[chr(code)].name in _INSTRUCTIONS
    }

    def find_class(self, module: str, name: str) -> Any:
        found = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if found not in _FUNCTIONS:
            raise UnsafePickle(f"it would load {found[:80]}")
        return _FUNCTIONS[found]

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (_Array, _Dtype)):
            raise UnsafePickle("it would change something that is not an array")
        target.set_state(state)

    def load_setitem(self) -> None:
        value, name = self.stack.pop(), self.stack.pop()
        self._set_items([name, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        table, names = self.stack[-1], items[::2]
        # Only strings, because hashing a nested tuple can take forever.
        if type(table) is not dict or not all(isinstance(name, str) for name in names):
            raise UnsafePickle("it has keys that are not strings")
        table.update(zip(names, items[1::2], strict=True))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict


def load_file(path: PathLike) -> Any:
    """Read a file that is one pickle of arrays.

    Returns:
        Its content: an array, a dict of arrays, numbers or strings.

    Raises:
        OSError: it cannot be read.
        UnsafePickle: it is damaged, has too many instructions, or describes anything but arrays.
    """
    with open(path, "rb") as file:
        return _load(file)


def load_npy_dict(path: PathLike) -> dict[str, np.ndarray]:
    """Read a dict of arrays that ``numpy.save`` wrote, the format of reprod_log.

    Raises:
        OSError: it cannot be read.
        UnsafePickle: it has another format.
    """
    with open(path, "rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except (ValueError, EOFError):
            raise UnsafePickle("it is not a .npy file") from None
        content = _load(file) if dtype == np.dtype("O") and shape == () else None
    if not isinstance(content, dict):
        raise UnsafePickle("it is not a dict of arrays")
    return content


def _load(file: BinaryIO) -> Any:
    """Read a pickle from the current position of a file."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            content.seek(file.tell())  # mapped, so that a false length allocates nothing
            _check_instructions(content)
            content.seek(file.tell())
            return _value_of(_Unpickler(content, encoding="latin1").load(), len(content))
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise UnsafePickle(str(error).partition("\n")[0] or "it is cut") from None


def _check_instructions(content: mmap.mmap) -> None:
    """Check kind and number of the instructions; `pickletools` runs none and checks all lengths."""
    for number, (instruction, _, _) in enumerate(pickletools.genops(content)):
        if instruction.name not in _INSTRUCTIONS:
            raise UnsafePickle(f"it has the instruction {instruction.name}")
        if number > MAX_INSTRUCTIONS:
            raise UnsafePickle(f"it has more than {MAX_INSTRUCTIONS} instructions")


def _value_of(found: Any, size: int) -> Any:
    """Make the arrays in a dict, or in the only dict of an array of objects."""
    if isinstance(found, _Array):
        found = found.value()
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return found
    values, total = {}, 0
    for name, value in found.items():
        values[name] = value.value() if isinstance(value, _Array) else value
        total += values[name].nbytes if isinstance(values[name], np.ndarray) else 0
        if total > size:  # the same bytes are used repeatedly
            raise UnsafePickle("its arrays are larger than the file")
    return values
