"""Checks of the class names in a model configuration. Does not import Paddle."""

from typing import Any

from paddlenlp.utils.errors import UserError


def check_label_names(names: Any, where: str, classes: int | None = None) -> list[str]:
    """Check class names by label id and return them.

    Args:
        names: a list of strings, all different.
        where: the file they come from, for messages.
        classes: the required number; None: not known.

    Raises:
        UserError: a wrong type, an empty or repeated name, or a wrong number of names.
    """
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise UserError("label", f"{where}: label names must be a list of strings, not {names!r}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError("label", f"{where}: the label name '{repeated[0]}' is given twice")
    if classes is not None and len(names) != classes:
        raise UserError(
            "label", f"{where}: {len(names)} label names for a model with {classes} classes"
        )
    return names


def read_label_names(raw: dict[str, Any], where: str) -> list[str] | None:
    """Return the class names in ``id2label`` (and ``label2id``) of a configuration by label id.

    None if it has none, or only the placeholders LABEL_0, LABEL_1, ... of transformers.

    Raises:
        UserError: the ids are not 0, 1, 2, ..., the names cannot be used, or the two tables differ.
    """
    table, back = raw.get("id2label"), raw.get("label2id")
    if table is None and back is None:
        return None
    if table is None:
        _check_table(back, where)
        table = {number: name for name, number in back.items()}
        if len(table) < len(back):
            raise UserError("label", f"{where}: label2id gives two names the same id")
    _check_table(table, where)
    if back is not None:
        _check_table(back, where)
    numbered = {str(number): name for number, name in table.items()}
    ids = [str(number) for number in range(len(numbered))]
    if not numbered or set(numbered) != set(ids):
        raise UserError(
            "label", f"{where}: the ids in id2label must be 0, 1, 2, ..., not {sorted(numbered)}"
        )
    names = check_label_names([numbered[number] for number in ids], where)
    if back is not None and {n: str(i) for n, i in back.items()} != dict(zip(names, ids)):
        raise UserError("label", f"{where}: id2label and label2id differ")
    return None if names == fillers(len(names)) else names


def fillers(classes: int) -> list[str]:
    """The names that transformers gives to classes without names."""
    return [f"LABEL_{number}" for number in range(classes)]


def _check_table(table: Any, where: str) -> None:
    plain = isinstance(table, dict) and all(isinstance(v, (str, int)) for v in table.values())
    if not plain:
        raise UserError("label", f"{where}: id2label must map ids to names, not {table!r}")
