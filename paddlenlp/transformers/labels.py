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
        count = f"{len(names)} label names for a model with {classes} classes"
        raise UserError("label", f"{where}: {count}")
    return names


def read_label_names(raw: dict[str, Any], where: str) -> list[str] | None:
    """Return the class names in ``id2label`` or ``label2id`` of a configuration by label id.

    None if it has neither; the placeholders LABEL_0, LABEL_1, ... of transformers are names, too.

    Raises:
        UserError: the ids are not 0, 1, 2, ..., the names cannot be used, or the two tables differ.
    """
    table, back = raw.get("id2label"), raw.get("label2id")
    wanted = {"id2label": "ids to names", "label2id": "names to ids"}
    for key, kinds in wanted.items():
        given = raw.get(key)
        if given is None:
            continue
        if not isinstance(given, dict) or not all(
            isinstance(v, (str, int)) for v in given.values()
        ):
            raise UserError("label", f"{where}: {key} must map {kinds}, not {given!r}")
    if table is None and back is None:
        return None
    pairs = [(number, name) for name, number in back.items()] if table is None else table.items()
    numbered = {str(number): name for number, name in pairs}
    ids = [str(number) for number in range(len(numbered))]
    if not numbered or set(numbered) != set(ids) or len(pairs) > len(numbered):
        found = f"the ids of the labels must be 0, 1, 2, ..., not {sorted(numbered)}"
        raise UserError("label", f"{where}: {found}")
    names = check_label_names([numbered[number] for number in ids], where)
    if back is not None and {name: str(number) for name, number in back.items()} != dict(
        zip(names, ids)
    ):
        raise UserError("label", f"{where}: id2label and label2id differ: correct one of them")
    return names


def fillers(classes: int) -> list[str]:
    """The names that transformers gives to classes without names."""
    return [f"LABEL_{number}" for number in range(classes)]
