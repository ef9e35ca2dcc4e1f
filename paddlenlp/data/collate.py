"""Batch functions in upstream's call form: a list of examples in, NumPy arrays out.

``Tuple(Pad(pad_val=0), Stack())`` turns ``[(ids, label), ...]`` into ``(ids [B, L], labels [B])``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Stack:
    """Stacks equally shaped items: B items of shape S give [B, *S].

    Attributes:
        axis: position of the batch axis.
        dtype: type of the result; None: NumPy's choice.
    """

    axis: int = 0
    dtype: str | None = None

    def __call__(self, items: Sequence[Any]) -> np.ndarray:
        stacked = np.stack([np.asarray(item) for item in items], axis=self.axis)
        return stacked.astype(self.dtype) if self.dtype else stacked


@dataclass
class Pad:
    """Pads items to the longest along one axis and stacks them: [B, L] for lists of ids.

    Attributes:
        pad_val: number to pad with.
        axis: axis of an item that differs in length.
        ret_length: True also returns the lengths [B] int64; a dtype returns them in that type.
        dtype: type of the result; None: that of the items.
        pad_right: False puts the padding before the item.
    """

    pad_val: float = 0
    axis: int = 0
    ret_length: bool | str | None = None
    dtype: str | None = None
    pad_right: bool = True

    def __call__(self, items: Sequence[Any]) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        arrays = [np.asarray(item) for item in items]
        lengths = [array.shape[self.axis] for array in arrays]
        shape = list(arrays[0].shape)
        shape[self.axis] = max(lengths)
        batch = np.full([len(arrays), *shape], self.pad_val, self.dtype or arrays[0].dtype)
        for row, (array, length) in enumerate(zip(arrays, lengths)):
            start = 0 if self.pad_right else max(lengths) - length
            place: list[Any] = [slice(None)] * array.ndim
            place[self.axis] = slice(start, start + length)
            batch[(row, *place)] = array
        if not self.ret_length:
            return batch
        dtype = "int64" if self.ret_length is True else self.ret_length
        return batch, np.asarray(lengths, dtype=dtype)


class Dict:
    """Applies one function per key of examples that are dicts; returns a flat tuple in key order.

    Args:
        functions: function by key; other keys of the examples are ignored.
    """

    def __init__(self, functions: dict[str, Callable]):
        self._functions = dict(functions)

    def __call__(self, examples: Sequence[Any]) -> tuple:
        flat: list[Any] = []
        for key, function in self._functions.items():
            result = function([example[key] for example in examples])
            # Several arrays (Pad with lengths) stay several.
            flat.extend(result if isinstance(result, (tuple, list)) else [result])
        return tuple(flat)


class Tuple(Dict):
    """Applies one function per field of examples that are sequences; returns a flat tuple.

    Args:
        functions: one per field, as separate arguments or one list.
    """

    def __init__(self, functions: Any, *more: Callable):
        listed = isinstance(functions, (list, tuple))
        if listed and more:
            raise ValueError("give the functions as one list or as separate arguments, not both")
        super().__init__(dict(enumerate(functions if listed else (functions, *more))))

    def __call__(self, examples: Sequence[Sequence[Any]]) -> tuple:
        for example in examples:
            if len(example) != len(self._functions):
                raise ValueError(f"{len(self._functions)} functions for {len(example)} fields")
        return super().__call__(examples)
