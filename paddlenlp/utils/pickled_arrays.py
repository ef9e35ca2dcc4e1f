"""Arrays from pickles, without running any code in them.

A pickle is a list of instructions, some of which call functions. `load` interprets only those that
describe arrays, and builds the arrays itself. It never calls `pickle`, so time and memory are
proportional to the file: Python's reader needs 4 GB for a file of 9 bytes that names a large memo
slot, and does not terminate on some short nested keys.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import re
from typing import IO, Any

import numpy as np

from paddlenlp.utils.files import PathLike

# A checkpoint of 1,000 tensors needs about 50,000.
MAX_INSTRUCTIONS = 1_000_000
_DTYPE = re.compile(r"(b1|[iuf][1248]|f16|O8?)")
_CORE = re.compile(r"numpy\._?core\.(multiarray|numeric) (_reconstruct|_frombuffer|scalar)")
_MARK = object()


class UnsafePickle(ValueError):
    """The pickle is damaged, or describes something other than arrays by name."""


class _Dtype:
    """``numpy.dtype``: a kind of number, whose byte order is set later."""

    def __init__(self, kind: Any, *_: Any):
        if not isinstance(kind, str) or not _DTYPE.fullmatch(kind):
            raise UnsafePickle(f"it has numbers of type {str(kind)[:40]!r}")
        self.kind, self.order = kind[:1] if kind[0] == "O" else kind, "="

    def set_state(self, state: tuple) -> None:
        """Set the byte order."""
        if state[1] not in ("<", ">", "|", "="):
            raise UnsafePickle("it has an unknown byte order")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """Return the type itself."""
        return np.dtype(self.order + self.kind)


class _Array:
    """``numpy.ndarray``: empty until its state is set."""

    def __init__(self) -> None:
        self._state: tuple = ()

    def set_state(self, state: tuple) -> None:
        """Set ``(version, shape, dtype, fortran, content)``."""
        self._state = state[-4:]

    def value(self) -> Any:
        """Return the array, or the list of the objects in an array of objects."""
        shape, dtype, fortran, content = self._state
        if dtype.kind == "O":
            return content
        return _build(content, dtype, shape, "F" if fortran else "C")


def load(file: IO[bytes]) -> Any:
    """Read a pickle of arrays, from the current position of a file.

    Args:
        file: a real file (with a descriptor), opened for reading.

    Returns:
        Its content: an array, a dict of arrays, a list of such dicts, numbers or strings.

    Raises:
        UnsafePickle: it is damaged, has too many instructions, or describes anything but arrays.
    """
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            content.seek(file.tell())  # mapped, so that a false length allocates nothing
            return _value_of(_run(content), len(content))
    except UnsafePickle:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        MemoryError,
    ) as error:
        raise UnsafePickle(str(error).partition("\n")[0] or "it is cut") from None


def load_file(path: PathLike) -> Any:
    """Read a file that is one pickle of arrays; see `load`."""
    with open(path, "rb") as file:
        return load(file)


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
        objects = load(file) if dtype == np.dtype("O") and shape == () else None
    content = objects[0] if isinstance(objects, list) and len(objects) == 1 else None
    if not isinstance(content, dict):
        raise UnsafePickle("it is not a dict of arrays")
    return content


def _value_of(found: Any, size: int) -> Any:
    """Build the arrays in a dict, or in the dicts of a list (an array of objects)."""
    if isinstance(found, _Array):
        found = found.value()
    if isinstance(found, list):
        return [_build_all(item, size) if isinstance(item, dict) else item for item in found]
    return _build_all(found, size) if isinstance(found, dict) else found


def _build_all(found: dict[str, Any], size: int) -> dict[str, Any]:
    values, total = {}, 0
    for name, value in found.items():
        values[name] = value.value() if isinstance(value, _Array) else value
        total += values[name].nbytes if isinstance(values[name], np.ndarray) else 0
        if total > size:  # the same bytes are used repeatedly
            raise UnsafePickle("its arrays are larger than the file")
    return values


def _run(content: Any) -> Any:
    """Interpret the instructions. Their arguments come from `pickletools`, which runs nothing."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        name = instruction.name
        if count > MAX_INSTRUCTIONS:
            raise UnsafePickle(f"it has more than {MAX_INSTRUCTIONS} instructions")
        if name == "STOP":
            return stack.pop()
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _MEMOIZE:
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in _RECALL:
            stack.append(memo[argument])
        elif name in _ACTIONS:
            _ACTIONS[name](stack, argument)
        elif name not in ("PROTO", "FRAME"):
            raise UnsafePickle(f"it has the instruction {name}")
    raise UnsafePickle("it is cut")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_MEMOIZE = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}


def _since_mark(stack: list[Any]) -> list[Any]:
    place = len(stack) - 1
    while stack[place] is not _MARK:  # an IndexError if there is none
        place -= 1
        if place < 0:
            raise UnsafePickle("it has no mark")
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _set_items(table: Any, items: list[Any]) -> None:
    names = items[::2]
    # Only strings, because hashing a nested tuple can take forever.
    if type(table) is not dict or not all(isinstance(name, str) for name in names):
        raise UnsafePickle("it has keys that are not strings")
    table.update(zip(names, items[1::2], strict=True))


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise UnsafePickle("it appends to something that is not a list")
    target.extend(items)


def _reduce(stack: list[Any], _: Any) -> None:
    arguments, function = stack.pop(), stack.pop()
    stack.append(_call(function, *arguments))


def _build_object(stack: list[Any], _: Any) -> None:
    state = stack.pop()
    stack[-1].set_state(state)  # only `_Array` and `_Dtype` have it


class _Name(str):
    """The name of a function or class."""


def _call(function: Any, *arguments: Any) -> Any:
    """Emulate one of the functions that occur in pickles of arrays."""
    if not isinstance(function, _Name):
        raise UnsafePickle("it would call something that is not a function")
    core = _CORE.fullmatch(function)
    if core and core[2] == "_reconstruct":
        return _Array()
    if core and core[2] == "_frombuffer" and not isinstance(arguments[0], str):
        return _build(*arguments)
    if core:
        dtype, content = arguments
        return _build(content, dtype, (1,), "C")[0]
    if function == "numpy dtype":
        return _Dtype(*arguments)
    if function == "collections OrderedDict":
        table: dict[str, Any] = {}
        pairs = arguments[0] if arguments else []
        if any(len(pair) != 2 for pair in pairs):
            raise UnsafePickle("it has a dict of something other than pairs")
        _set_items(table, [part for pair in pairs for part in pair])
        return table
    text, encoding = arguments  # _codecs.encode, of bytes in protocol 2
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickle("it would encode something other than bytes")
    return text  # `_build` encodes it, only once


def _global(stack: list[Any], name: str) -> None:
    known = ("numpy dtype", "numpy ndarray", "collections OrderedDict", "_codecs encode")
    if name not in known and not _CORE.fullmatch(name):
        raise UnsafePickle(f"it would load {name.replace(' ', '.')[:80]}")
    stack.append(_Name(name))


def _stack_global(stack: list[Any], _: Any) -> None:
    name, module = stack.pop(), stack.pop()
    _global(stack, f"{module} {name}")


def _build(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Return an array over bytes, whose number must match the shape."""
    if isinstance(content, str):  # bytes of protocol 2, or of Python 2
        content = content.encode("latin1")
    shape = (shape,) if isinstance(shape, int) else shape
    if not all(type(size) is int and size >= 0 for size in shape) or dtype.kind == "O":
        raise UnsafePickle("it has an array without a size")
    if math.prod(shape) * dtype.numpy().itemsize != len(content):
        raise UnsafePickle("it has an array whose content does not fit its size")
    flat = np.frombuffer(content, dtype.numpy()) if content else np.empty(0, dtype.numpy())
    return flat.reshape(shape, order=order)


def _push_tuple(size: int):
    def push(stack: list[Any], _: Any) -> None:
        items = tuple(stack[-size:])
        del stack[-size:]
        stack.append(items)

    return push


def _on_items(action):
    """An instruction about all items since the mark."""

    def act(stack: list[Any], _: Any) -> None:
        items = _since_mark(stack)
        action(stack, items)

    return act


def _dict(stack: list[Any], items: list[Any]) -> None:
    table: dict[str, Any] = {}
    _set_items(table, items)
    stack.append(table)


def _append(stack: list[Any], _: Any) -> None:
    item = stack.pop()
    _extend(stack[-1], [item])


def _set_item(stack: list[Any], _: Any) -> None:
    value, name = stack.pop(), stack.pop()
    _set_items(stack[-1], [name, value])


_ACTIONS = {
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build_object,
    "POP": lambda stack, _: stack.pop(),
    "DUP": lambda stack, _: stack.append(stack[-1]),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "APPEND": _append,
    "SETITEM": _set_item,
    "POP_MARK": _on_items(lambda stack, items: None),
    "TUPLE": _on_items(lambda stack, items: stack.append(tuple(items))),
    "LIST": _on_items(lambda stack, items: stack.append(items)),
    "DICT": _on_items(_dict),
    "APPENDS": _on_items(lambda stack, items: _extend(stack[-1], items)),
    "SETITEMS": _on_items(lambda stack, items: _set_items(stack[-1], items)),
}
