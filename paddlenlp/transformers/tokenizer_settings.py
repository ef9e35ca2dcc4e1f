"""Reads all settings that determine a tokenizer's ids, including special and added tokens.

Sources are the files of transformers and PaddleNLP: ``tokenizer_config.json``, ``tokenizer.json``,
``special_tokens_map.json`` and ``added_tokens.json``. A setting that changes ids is either applied
or rejected by name. Files that contradict each other are rejected, because the version of
transformers decides which one counts. This module never imports Paddle.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from paddlenlp.transformers.checkpoint import HF_TOKENIZER_FILE, read_json
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


class AddedToken(NamedTuple):
    """A token that is searched in the text before the text is split into words.

    Attributes:
        content: its text.
        id: its id; None: its line in the vocabulary, otherwise the next free id.
        lstrip, rstrip: whether it includes the spaces before (after) it.
        single_word: whether it is found only between word boundaries.
        normalized: whether it is compared with the normalised text (lower-cased, without accents).
        special: whether ``split_special_tokens`` applies to it.
    """

    content: str
    id: int | None = None
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = True
    special: bool = False

    @property
    def flags(self) -> dict[str, bool]:
        """All fields but the text and the id."""
        return {key: value for key, value in self._asdict().items() if key not in ("content", "id")}


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
    added_tokens: tuple = ()  # of AddedToken

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
    _check_supported(config, folder / CONFIG_FILE)
    sources = [
        *((folder / name, _label_names(folder / name)) for name in _MODEL_CONFIGS),
        (folder / CONFIG_FILE, _from_config(config)),
        (folder / SPECIAL_MAP_FILE, _special_tokens(_json(folder / SPECIAL_MAP_FILE))),
        (folder / HF_TOKENIZER_FILE, _from_packed(packed, folder / HF_TOKENIZER_FILE)),
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
    added = _added_tokens(folder, config, packed, set(special))
    if added:
        settings["added_tokens"] = added
    assumed = [f"{key}=True" for key in _ASSUMED if key not in settings]
    if assumed and has_vocab(folder):
        get_logger().info("tokenizer of %s: assuming %s", folder, ", ".join(assumed))
    return settings


_MODEL_CONFIGS = ("model_config.json", "config.json")


def _label_names(path: Path) -> dict[str, list[str]]:
    """The class names that a model configuration gives, if they are more than placeholders."""
    names = read_label_names(_json(path), str(path)) or []
    return {} if names == fillers(len(names)) else {"label_names": names}


# Defaults that are logged, because transformers or cased models have the other value.
_ASSUMED = ("do_lower_case", "split_special_tokens")


def padding_id(directory: PathLike) -> int | None:
    """Return the id of the padding token in a directory's vocabulary; None without a vocabulary.

    The ``pad_token_id`` of a transformers configuration cannot be used: its default is 1, which is
    [unused0] in the published vocabularies, and nothing in transformers depends on it.
    """
    folder = Path(directory)
    if not has_vocab(folder):
        return None
    ids = {token: number for number, token in enumerate(read_vocab(find_vocab(folder), ()))}
    given = {
        **_special_tokens(_json(folder / SPECIAL_MAP_FILE)),
        **_special_tokens(_json(folder / CONFIG_FILE)),
    }
    return ids.get(given.get("pad_token", SPECIAL_TOKENS["pad_token"]))


def _json(path: Path) -> dict[str, Any]:
    return read_json(str(path)) if path.is_file() else {}


def _from_config(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of tokenizer_config.json under our names, without null values."""
    names = {field.name for field in dataclasses.fields(TokenizerSettings)} - {"added_tokens"}
    found = {key: config[key] for key in names - set(SPECIAL_TOKENS) if config.get(key) is not None}
    length = found.get("model_max_length")
    if isinstance(length, (int, float)) and length > 10**9:  # no limit, in transformers
        del found["model_max_length"]
    return {**found, **_special_tokens(config)}


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    return {role: _content(config[role]) for role in SPECIAL_TOKENS if config.get(role) is not None}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _from_packed(packed: dict[str, Any], path: Path) -> dict[str, Any]:
    """The settings of tokenizer.json, which must describe BERT's tokenizer."""
    if not packed:
        return {}
    normalizer, splitter = (_part(packed, key, path) for key in ("normalizer", "pre_tokenizer"))
    processor, model = (_part(packed, key, path) for key in ("post_processor", "model"))
    for part, kind in ((normalizer, "BertNormalizer"), (splitter, "BertPreTokenizer")):
        if part and part.get("type") != kind:
            _refuse(path, "type", part.get("type"), f"only {kind} is supported")
    if normalizer.get("clean_text") is False:  # set in no other file of transformers
        _refuse(path, "clean_text", False, "only true is supported")
    for key, value in (("max_input_chars_per_word", 100), ("continuing_subword_prefix", "##")):
        if model.get(key, value) != value:
            _refuse(path, key, model[key], f"only {value!r} is supported")
    if processor.get("type") == "TemplateProcessing":
        _check_template(processor, path)
    names = {
        "lowercase": "do_lower_case",
        "strip_accents": "strip_accents",
        "handle_chinese_chars": "tokenize_chinese_chars",
    }
    found = {
        ours: normalizer[key] for key, ours in names.items() if normalizer.get(key) is not None
    }
    if model.get("unk_token"):
        found["unk_token"] = model["unk_token"]
    if truncation := _part(packed, "truncation", path):
        found["truncation_side"] = str(truncation.get("direction", "Right")).lower()
    return found


# Kinds of tokens and their types in ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``.
_SINGLE = [("SpecialToken", 0), ("Sequence", 0), ("SpecialToken", 0)]
_TEMPLATES = {"single": _SINGLE, "pair": [*_SINGLE, ("Sequence", 1), ("SpecialToken", 1)]}


def _check_template(template: dict[str, Any], path: Path) -> None:
    for name, expected in _TEMPLATES.items():
        found = [
            (kind, _part(piece, kind, path).get("type_id"))
            for piece in _rows(template, name, path)
            for kind in piece
        ]
        if found != expected:
            form = "only [CLS] A [SEP] and [CLS] A [SEP] B [SEP] are supported"
            _refuse(path, f"post_processor.{name}", template.get(name), form)


# Keys of tokenizer_config.json that change ids or have another meaning in transformers -> the only
# value that is supported.
_SUPPORTED = {
    "never_split": [],
    "do_basic_tokenize": True,
    "clean_text": True,
    "padding_side": "right",
    "wordpieces_prefix": "##",
}


def _check_supported(config: dict[str, Any], path: Path) -> None:
    for key, supported in _SUPPORTED.items():
        if config.get(key) not in (None, supported):
            hint = "use added tokens instead" if key == "never_split" else "it is not supported"
            _refuse(path, key, config[key], hint)
    kind = config.get("tokenizer_class")
    plain = str(kind or "BertTokenizer").removesuffix("Fast").removesuffix("Tokenizer")
    if plain not in SAME_TOKENIZERS and kind != "PreTrainedTokenizerFast":
        _refuse(path, "tokenizer_class", kind, "only BERT's tokenizer is supported")


def _added_tokens(
    folder: Path, config: dict[str, Any], packed: dict[str, Any], special: set[str]
) -> tuple[AddedToken, ...]:
    """The added tokens of all files, by id; special tokens only if they have unusual flags."""
    found: dict[str, AddedToken] = {}
    numbered = [{"content": t, "id": n} for t, n in _json(folder / ADDED_FILE).items()]
    sources = [
        (folder / CONFIG_FILE, _decoder(config, folder / CONFIG_FILE)),
        (folder / HF_TOKENIZER_FILE, _rows(packed, "added_tokens", folder / HF_TOKENIZER_FILE)),
        (folder / ADDED_FILE, numbered),
        (folder / CONFIG_FILE, _extra_special(config, folder / CONFIG_FILE)),
    ]
    for path, tokens in sources:
        for raw in tokens:
            fields = _checked_fields(raw, path)
            before = found.get(fields["content"])
            if before is None:
                is_special = fields.setdefault("special", fields["content"] in special)
                found[fields["content"]] = AddedToken(**{"normalized": not is_special, **fields})
            elif any(getattr(before, key) not in (None, value) for key, value in fields.items()):
                _refuse(path, "added token", raw, f"another file has {before}")
    kept = [
        token
        for token in found.values()
        if token.content not in special
        or (token.lstrip or token.rstrip or token.single_word or token.normalized)
    ]
    return tuple(sorted(kept, key=lambda token: (token.id is None, token.id or 0)))


def _checked_fields(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of `AddedToken` that a file gives for one token."""
    fields = {key: raw[key] for key in AddedToken._fields if key in raw}
    content, number = fields.get("content"), fields.get("id")
    if not isinstance(content, str) or not content:
        _refuse(path, "added token", raw, "it has no content")
    if not (number is None or type(number) is int and 0 <= number < _MOST_IDS):
        _refuse(path, "added token", raw, f"id must be a number from 0 to {_MOST_IDS}")
    if not all(isinstance(fields[key], bool) for key in set(fields) - {"content", "id"}):
        _refuse(path, "added token", raw, "its flags must be true or false")
    return fields


def _decoder(config: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    decoder = _part(config, "added_tokens_decoder", path)
    for number in decoder:
        if not number.isdecimal() or len(number) > len(str(_MOST_IDS)):
            _refuse(path, "added_tokens_decoder", number, "its names must be token ids")
    return [{**_part(decoder, number, path), "id": int(number)} for number in decoder]


def _extra_special(config: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    listed: list[Any] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(key) or []
        if not isinstance(value, (dict, list)):
            _refuse(path, key, value, "it must be a list or an object")
        listed += value.values() if isinstance(value, dict) else value
    return [{"content": _content(token), "special": True} for token in listed]


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
