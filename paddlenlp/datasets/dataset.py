"""A data set in memory, and the call that loads one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from paddlenlp.datasets.glue import read_glue
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike


@dataclass(eq=False)
class MapDataset:
    """Examples by index. Fits ``paddle.io.DataLoader`` without importing Paddle.

    Attributes:
        examples: a sequence of examples (dicts).
        label_list: label texts by id; None for regression or without labels.
        transform: applied to an example whenever it is read.
    """

    examples: Sequence[Any]
    label_list: list[str] | None = None
    transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        example = self.examples[index]
        return self.transform(example) if self.transform else example

    def map(self, function: Callable[[Any], Any], lazy: bool = False) -> "MapDataset":
        """Return the data set of ``function(example)``, called now or, if lazy, at each reading."""
        if lazy:
            return MapDataset(self, self.label_list, function)
        return MapDataset([function(example) for example in self], self.label_list)

    def filter(self, predicate: Callable[[Any], bool]) -> "MapDataset":
        """Return the data set of the examples for which ``predicate`` is true."""
        return MapDataset([example for example in self if predicate(example)], self.label_list)


def load_dataset(
    path: str | Callable[..., Iterable[Any]],
    name: str | None = None,
    splits: str | Sequence[str] = "train",
    data_dir: PathLike | None = None,
    data_files: Any = None,
    lazy: bool | None = None,
    **arguments: Any,
) -> MapDataset | list[MapDataset]:
    """Load one or several splits of a data set, or the examples that a function yields.

    Args:
        path: "glue", or a function that yields examples; it gets the other keywords.
        name: task name, a key of `GLUE_TASKS`, such as "sst-2".
        splits: one name gives one data set, a list of names a list. "train", "dev" and "test";
            mnli has "dev_matched", "dev_mismatched", "test_matched" and "test_mismatched".
        data_dir: directory with the official files (or the directory above it); None downloads
            them once into the cache.
        data_files, lazy: keywords of upstream; local files and streaming are not supported.
        arguments: arguments for the function.

    Returns:
        Examples {"sentence"} or {"sentence1", "sentence2"} (str) with "labels": the index (int) in
        ``label_list``, a float for regression, absent in test splits.

    Raises:
        UserError: the name or split is unknown, or a file is missing, damaged or cannot be
            downloaded.
        ValueError: an argument of upstream that is not supported.
    """
    if data_files is not None or lazy:
        raise ValueError("data_files and lazy=True are not supported: see docs/upstream.md")
    if callable(path):
        return MapDataset(list(path(**arguments)))
    if arguments:
        raise TypeError(f"load_dataset got an unexpected argument '{min(arguments)}'")
    if path != "glue":
        raise UserError("data-set", f"unknown data set '{path}': only 'glue' is known")
    if isinstance(splits, str):
        return MapDataset(*read_glue(name, splits, data_dir))
    return [MapDataset(*read_glue(name, split, data_dir)) for split in splits]
