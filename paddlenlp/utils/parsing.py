"""Parsers of untrusted JSON and YAML, with limits on size and nesting, and unique keys."""

import json
import math
from functools import cache
from typing import Any

from paddlenlp.utils.files import PathLike

# A file of brackets takes about 20 times its size in memory.
MAX_JSON_BYTES = 16 << 20
MAX_YAML_CHARS = 16 << 10
MAX_DEPTH = 64


def read_json_file(path: PathLike) -> Any:
    """Read a JSON file of at most `MAX_JSON_BYTES`.

    Raises:
        OSError: it cannot be read.
        ValueError: see `parse_json`.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it has more than {MAX_JSON_BYTES} bytes")
    return parse_json(content.decode("utf-8"))


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON or contains NaN or infinity; an object has a name twice; lists
            and objects are nested more than `MAX_DEPTH` times.
    """
    try:
        found = json.loads(
            text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique
        )
        _check_depth(found)
    except RecursionError:
        raise _too_deep() from None
    return found


def parse_yaml(text: str) -> Any:
    """Parse a YAML document of at most `MAX_YAML_CHARS`.

    Raises:
        ValueError: it is not YAML, has an alias, a tag or a key twice, or is nested more than
            `MAX_DEPTH` times.
    """
    import yaml

    if len(text) > MAX_YAML_CHARS:
        raise ValueError(f"it has more than {MAX_YAML_CHARS} characters")
    try:
        found = yaml.load(text, _yaml_loader())
        _check_depth(found)
    except RecursionError:
        raise _too_deep() from None
    except Exception as error:  # the library raises several types for values it cannot convert
        raise ValueError(" ".join(str(error).split())) from None
    return found


@cache
def _yaml_loader() -> type:
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent):  # nine aliases can stand for a billion values
                raise ValueError("aliases are not accepted")
            if getattr(event, "tag", None):
                raise ValueError(f"tags are not accepted: {event.tag[:40]}")
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            _unique([(str(key.value), None) for key, _ in node.value])
            return super().construct_mapping(node, deep)

    return Loader


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"'{name[:40]}' is given twice in one object")
        found[name] = value
    return found


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_depth(item, depth + 1)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MAX_DEPTH} times")
