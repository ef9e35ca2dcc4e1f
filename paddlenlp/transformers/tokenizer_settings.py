"""Reads all settings that determine a tokenizer's ids, including special and added tokens.

Sources are the files of transformers and PaddleNLP: ``tokenizer_config.json``, ``tokenizer.json``,
``special_tokens_map.json`` and ``added_tokens.json``. A setting that changes ids is either applied
or rejected by name. Files that contradict each other are rejected, because the version of
transformers decides which one counts. This module never imports Paddle.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import AddedToken

from paddlenlp.transformers.checkpoint import CONFIG_FILE as MODEL_CONFIG_FILE
from paddlenlp.transformers.checkpoint import HF_CONFIG_FILE, HF_TOKENIZER_FILE, read_json
from paddlenlp.transformers.labels import check_label_names, fillers, read_label_names
from paddlenlp.transformers.vocabulary import SPECIAL_TOKENS, find_vocab, has_vocab, read_vocab
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike
from paddlenlp.utils.log import get_logger

CONFIG_FILE = "tokenizer_config.json"
SPECIAL_MAP_FILE = "special_tokens_map.json"
ADDED_FILE = "added_tokens.json"
_MOST_IDS = 10**7
MAX_WORD_CHARS = 100  # a longer word is [UNK], as in BERT's reference tokenizer
# Classes of transformers and PaddleNLP that behave like this tokenizer, without "Fast".
SAME_TOKENIZERS = ("ConvBert", "Bert", "Electra", "DistilBert", "MobileBert", "WordPiece")


@dataclass(frozen=True)
class TokenizerSettings:
    """The constructor arguments of the tokenizer besides the vocabulary.

    Raises:
        UserError: a value has a wrong type or is out of range (named).
    """

    do_lower_case: bool = True
    strip_accents: bool | None = None  # None: like do_lower_case
    tokenize_chinese_chars: bool = True  # each Chinese character is a word
    split_special_tokens: bool = True  # a literal "[SEP]" in a text is ordinary characters
    truncation_side: str = "right"
    model_max_length: int = 512
    label_names: list | None = None  # class names by label id
    pad_token: str = "[PAD]"
    unk_token: str = "[UNK]"
    cls_token: str = "[CLS]"
    sep_token: str = "[SEP]"
    mask_token: str = "[MASK]"
    # Searched in a text before it is split into words: (id, AddedToken) each. An id of None is that
    # of its line in the vocabulary, otherwise the next free one.
    added_tokens: tuple = ()

    def __post_init__(self):
        if self.label_names is not None:
            check_label_names(self.label_names, "label_names")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, field.type):
                _refuse("", field.name, value, "it has the wrong type")
        if self.truncation_side not in ("left", "right"):
            _refuse("", "truncation_side", self.truncation_side, "left or right")
        if isinstance(self.model_max_length, bool) or self.model_max_length < 3:
            _refuse("", "model_max_length", self.model_max_length, "a number from 3")

    @property
    def special_tokens(self) -> dict[str, str]:
        """The five special tokens by role, as in `SPECIAL_TOKENS`."""
        return {role: getattr(self, role) for role in SPECIAL_TOKENS}


def read_settings(directory: PathLike) -> dict[str, Any]:
    """Read the constructor arguments that the files of a directory give.

    Arguments that no file gives are absent; if their default changes ids, it is logged.

    Raises:
        UserError: a file is damaged, files contradict each other, or a setting is not supported.
    """
    folder = Path(directory)
    config, packed = _json(folder / CONFIG_FILE), _json(folder / HF_TOKENIZER_FILE)
    special_map = _json(folder / SPECIAL_MAP_FILE)
    parts = _parts(packed, folder / HF_TOKENIZER_FILE)
    _check_supported(config, folder / CONFIG_FILE)
    _check_supported(parts, folder / HF_TOKENIZER_FILE)
    sources = [
        (folder / MODEL_CONFIG_FILE, _label_names(folder / MODEL_CONFIG_FILE)),
        (folder / HF_CONFIG_FILE, _label_names(folder / HF_CONFIG_FILE)),
        (folder / CONFIG_FILE, {**_own_settings(config), **_special_tokens(config)}),
        (folder / SPECIAL_MAP_FILE, _special_tokens(special_map)),
        (folder / HF_TOKENIZER_FILE, {_PARTS[key]: parts[key] for key in _PARTS if key in parts}),
    ]
    merged: dict[str, tuple[Any, Path]] = {}
    for path, found in sources:
        for key, value in found.items():
            first, origin = merged.setdefault(key, (value, path))
            if first != value:
                raise UserError(
                    "tokenizer",
                    f"{key} is {first!r} in {origin} and {value!r} in {path}: correct one of them",
                )
    settings = {key: value for key, (value, _) in merged.items()}
    try:
        special = TokenizerSettings(**settings).special_tokens.values()
    except UserError as error:
        raise UserError(error.code, f"{folder / CONFIG_FILE}: {error}") from None
    added = _added_tokens(_token_rows(folder, config, packed), set(special))
    if added:
        settings["added_tokens"] = added
    assumed = [f"{key}=True" for key in _ASSUMED if key not in settings]
    if assumed and has_vocab(folder):
        get_logger().info("tokenizer of %s: assuming %s", folder, ", ".join(assumed))
    return settings


# Defaults that are logged, because transformers or cased models have the other value.
_ASSUMED = ("do_lower_case", "split_special_tokens")
# Parts of tokenizer.json -> our names.
_PARTS = {
    "normalizer.lowercase": "do_lower_case",
    "normalizer.strip_accents": "strip_accents",
    "normalizer.handle_chinese_chars": "tokenize_chinese_chars",
    "model.unk_token": "unk_token",
    "truncation.direction": "truncation_side",
}
# Keys of tokenizer_config.json and parts of tokenizer.json that change ids or have another meaning
# in transformers -> the only value that is supported.
_SUPPORTED = {
    "never_split": [],
    "do_basic_tokenize": True,
    "clean_text": True,
    "padding_side": "right",
    "wordpieces_prefix": "##",
    "normalizer.type": "BertNormalizer",
    "normalizer.clean_text": True,
    "pre_tokenizer.type": "BertPreTokenizer",
    # Kinds of tokens and their types in [CLS] A [SEP] and [CLS] A [SEP] B [SEP].
    "post_processor.single": "SpecialToken 0, Sequence 0, SpecialToken 0",
    "post_processor.pair": (
        "SpecialToken 0, Sequence 0, SpecialToken 0, Sequence 1, SpecialToken 1"
    ),
    "model.max_input_chars_per_word": MAX_WORD_CHARS,
    "model.continuing_subword_prefix": "##",
}


def _check_supported(config: dict[str, Any], path: Path) -> None:
    for key, supported in _SUPPORTED.items():
        if config.get(key) not in (None, supported):
            hint = ", use added tokens instead" if key == "never_split" else ""
            _refuse(path, key, config[key], f"only {supported!r} is supported{hint}")
    kind = config.get("tokenizer_class")
    plain = str(kind or "BertTokenizer").removesuffix("Fast").removesuffix("Tokenizer")
    if plain not in SAME_TOKENIZERS and kind != "PreTrainedTokenizerFast":
        _refuse(path, "tokenizer_class", kind, "only BERT's tokenizer is supported")


def padding_id(directory: PathLike) -> int | None:
    """Return the id of the padding token in a directory's vocabulary; None without a vocabulary.

    The ``pad_token_id`` of a transformers configuration cannot be used: its default is 1, which is
    [unused0] in the published vocabularies, and nothing in transformers depends on it.
    """
    folder = Path(directory)
    if not has_vocab(folder):
        return None
    ids = {token: number for number, token in enumerate(read_vocab(find_vocab(folder), ()))}
    files = (SPECIAL_MAP_FILE, CONFIG_FILE)
    given = [_special_tokens(_json(folder / name)).get("pad_token") for name in files]
    return ids.get(given[1] or given[0] or SPECIAL_TOKENS["pad_token"])


def _json(path: Path) -> dict[str, Any]:
    return read_json(str(path)) if path.is_file() else {}


def _label_names(path: Path) -> dict[str, list[str]]:
    """The class names that a model configuration gives, if they are more than placeholders."""
    names = read_label_names(_json(path), str(path)) or []
    return {} if names == fillers(len(names)) else {"label_names": names}


def _own_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of tokenizer_config.json that have the same name here."""
    names = {field.name for field in dataclasses.fields(TokenizerSettings)}
    names -= {"added_tokens", *SPECIAL_TOKENS}
    found = {key: config[key] for key in names if config.get(key) is not None}
    length = found.get("model_max_length")
    if isinstance(length, (int, float)) and length > 10**9:  # no limit, in transformers
        del found["model_max_length"]
    return found


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    return {role: _content(config[role]) for role in SPECIAL_TOKENS if config.get(role) is not None}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _parts(packed: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values in tokenizer.json by names such as "normalizer.lowercase", without null."""
    found = {
        f"{name}.{key}": value
        for name in ("normalizer", "pre_tokenizer", "post_processor", "model", "truncation")
        for key, value in _part(packed, name, path).items()
        if value is not None
    }
    if found.get("post_processor.type") == "TemplateProcessing":
        for name in ("single", "pair"):
            rows = _rows(packed["post_processor"], name, path)
            kinds = [(kind, _part(row, kind, path).get("type_id")) for row in rows for kind in row]
            found[f"post_processor.{name}"] = ", ".join(
                f"{kind} {type_id}" for kind, type_id in kinds
            )
    if "truncation.direction" in found:
        found["truncation.direction"] = str(found["truncation.direction"]).lower()
    return found


# The flags of an added token and their defaults.
_FLAGS = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True}


def _added_tokens(
    rows: Iterable[tuple[Path, dict[str, Any]]], special: set[str]
) -> tuple[tuple[int | None, AddedToken], ...]:
    """The added tokens of all files, by id; special tokens only if they have unusual flags."""
    found: dict[str, dict[str, Any]] = {}
    for path, raw in rows:
        fields = {key: raw[key] for key in ("content", "id", "special", *_FLAGS) if key in raw}
        content, number = fields.get("content"), fields.get("id")
        if not isinstance(content, str) or not content:
            _refuse(path, "added token", raw, "it has no content")
        if not (number is None or type(number) is int and 0 <= number < _MOST_IDS):
            _refuse(path, "added token", raw, f"id must be a number from 0 to {_MOST_IDS}")
        if not all(isinstance(fields[key], bool) for key in set(fields) - {"content", "id"}):
            _refuse(path, "added token", raw, "its flags must be true or false")
        before = found.get(content)
        if before is None:
            is_special = fields.setdefault("special", content in special)
            found[content] = {"id": None, **_FLAGS, "normalized": not is_special, **fields}
        elif any(before[key] not in (None, value) for key, value in fields.items()):
            _refuse(path, "added token", raw, f"another file has {before}")
    kept = [
        (fields.pop("id"), AddedToken(**fields))
        for content, fields in found.items()
        if content not in special or any(fields[flag] for flag in _FLAGS)
    ]
    return tuple(sorted(kept, key=lambda pair: (pair[0] is None, pair[0] or 0)))


def _token_rows(
    folder: Path, config: dict[str, Any], packed: dict[str, Any]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file and the fields of every added token."""
    path, packed_path = folder / CONFIG_FILE, folder / HF_TOKENIZER_FILE
    decoder = _part(config, "added_tokens_decoder", path)
    for number in decoder:
        if not number.isdecimal() or len(number) > len(str(_MOST_IDS)):
            _refuse(path, "added_tokens_decoder", number, "its names must be token ids")
        yield path, {**_part(decoder, number, path), "id": int(number)}
    for row in _rows(packed, "added_tokens", packed_path):
        yield packed_path, row
    for content, number in _json(folder / ADDED_FILE).items():
        yield folder / ADDED_FILE, {"content": content, "id": number}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        tokens = config.get(key) or []
        if not isinstance(tokens, (dict, list)):
            _refuse(path, key, tokens, "it must be a list or an object")
        for token in tokens.values() if isinstance(tokens, dict) else tokens:
            yield path, {"content": _content(token), "special": True}


def _part(table: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The object under a key; {} if there is none."""
    found = table.get(key) or {}
    return found if isinstance(found, dict) else _refuse(path, key, found, "it must be an object")


def _rows(table: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects under a key; [] if there is none."""
    found = table.get(key) or []
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        _refuse(path, key, found, "it must be a list of objects")
    return found


def _refuse(path: Any, key: str, value: Any, reason: str) -> NoReturn:
    where = f"{path}: " if path else ""
    raise UserError("tokenizer", f"{where}{key} = {value!r} cannot be used: {reason}")
