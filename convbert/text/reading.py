"""Reading files of texts: one text per line, or tab-separated columns below a header.

Lines are those of `paddlenlp.utils.lines`; columns are separated only by tabs, and quotation marks
are ordinary characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from paddlenlp.transformers.tokenizer_utils import Text
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.lines import read_lines
from paddlenlp.utils.log import get_logger


@dataclass(frozen=True)
class Row:
    """One text, its place for error messages, and its true label if there is one.

    ``gold`` is the label as written in the file, ``label_id`` the id that `with_label_ids` adds.
    """

    text: Text
    gold: str | None = None
    where: str = "the text"
    label_id: int | None = None


def read_rows(
    path: str,
    columns: Sequence[str] = (),
    label_column: str | None = None,
    flag: str = "--input_file",
) -> Iterator[Row]:
    """Yield the texts of a file, lazily.

    Args:
        path: the file, or ``-`` for standard input.
        columns: none: one text per line. One or two: the columns of the text, or of the pair.
        label_column: column of the true labels.
        flag: the flag that named the file, for error messages.

    Raises:
        UserError: unreadable, not UTF-8, no rows, a missing column, or a row with too few or too
            many cells.
    """
    lines = read_lines(path, flag)
    if columns:
        yield from _read_columns(lines, columns, label_column)
    else:
        yield from (Row(line, where=where) for where, line in lines)


def _read_columns(
    lines: Iterator[tuple[str, str]], columns: Sequence[str], label_column: str | None
) -> Iterator[Row]:
    where, header = next(lines)
    names = header.split("\t")
    wanted = [*columns, label_column] if label_column else [*columns]
    for name in wanted:
        if names.count(name) != 1:
            found = "two columns" if name in names else "no column"
            raise UserError("column", f"{where}: {found} '{name}' (columns: {', '.join(names)})")
    places = [names.index(name) for name in wanted]
    empty = True
    for row_where, line in lines:
        empty = False
        cells = line.split("\t")
        if len(cells) != len(names):
            raise UserError("row", f"{row_where} has {len(cells)} columns instead of {len(names)}")
        values = [cells[place] for place in places]
        gold = values.pop() if label_column else None
        yield Row(values[0] if len(values) == 1 else tuple(values), gold, row_where)
    if empty:
        raise UserError("empty-input", f"{where} has no rows below the header: add some")


def with_label_ids(
    rows: Iterable[Row], names: Sequence[str] | None, classes: int | None
) -> Iterator[Row]:
    """Yield ``rows`` with the ids of their true labels.

    A column contains either names or ids. The first row decides: if its label is one of the model's
    names, all labels are names, otherwise ids. The choice is logged.

    Args:
        rows: texts with true labels.
        names: the model's class names by label id; None if it has none.
        classes: C, the number of classes; None: the number of names.

    Raises:
        UserError: a regression model, or a label that the model does not have (with the row).
    """
    if classes == 1:
        message = "the model predicts a score, not a class: leave out the column of labels"
        raise UserError("label", message)
    ids = {str(index): index for index in range(classes or len(names or ()))}
    by_name = {name: index for index, name in enumerate(names or ())}
    allowed = {**by_name, **ids}
    for number, row in enumerate(rows):
        label = (row.gold or "").strip()
        if label not in allowed:
            labels = ", ".join(allowed)
            raise UserError("label", f"{row.where}: label '{row.gold}' is not one of {labels}")
        if number == 0:
            allowed, kind = (by_name, "names") if label in by_name else (ids, "ids")
            get_logger().info("true labels are %s: %s", kind, ", ".join(allowed))
        yield replace(row, label_id=allowed[label])
