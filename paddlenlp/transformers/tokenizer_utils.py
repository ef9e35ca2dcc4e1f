"""WordPiece tokenization over the Rust library ``tokenizers``, in upstream's call form.

Paddle is never imported here, so a client or an HTTP worker can tokenize without it.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from paddlenlp.transformers.checkpoint import VOCAB_FILE, read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write
from paddlenlp.utils.hub import pretrained_file
from paddlenlp.utils.products import add_to_manifest
from paddlenlp.utils.text import without_surrogates

Text = str | tuple[str, str]

CONFIG_FILE = "tokenizer_config.json"
MAX_WORD_CHARS = 100  # a longer word is [UNK], as in BERT's reference tokenizer
CACHED_WORDS = 1 << 16  # bounds of the word cache: about 20 MB at most
CACHED_WORD_CHARS = 32
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# Those constructor arguments that tokenizer_config.json keeps, and their types.
_SETTINGS = {
    "do_lower_case": bool,
    "label_names": list,
    "model_max_length": int,
    "split_special_tokens": bool,
}


class Features(NamedTuple):
    """One encoded text: ``input_ids`` and ``token_type_ids`` of equal length, no padding."""

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool = False


class WordPieceTokenizer:
    """BERT's basic + WordPiece tokenization: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``.

    Args:
        vocab_file: UTF-8 text, one token per line; the line number (from 0) is the id.
        do_lower_case: lower-case the text and strip accents.
        label_names: class names by label id, kept with the tokenizer so that a saved model can
            name its answers.
        model_max_length: bound on the sequence length when a call gives none.
        split_special_tokens: True treats a literal "[SEP]" in a text as the ordinary characters it
            is made of, so that no text can forge a sentence boundary. False recognises special
            tokens in the text, as upstream and transformers do by default.

    Raises:
        UserError: the vocabulary is missing, not UTF-8, repeats a token or lacks a special token.
    """

    def __init__(
        self,
        vocab_file: PathLike,
        do_lower_case: bool = True,
        label_names: Sequence[str] | None = None,
        model_max_length: int = 512,
        split_special_tokens: bool = True,
    ):
        self.vocab_file = str(vocab_file)
        self.do_lower_case = do_lower_case
        self.label_names = list(label_names) if label_names else None
        self.model_max_length = model_max_length
        self.split_special_tokens = split_special_tokens
        self._tokens = read_vocab(vocab_file)
        self.vocab = {token: index for index, token in enumerate(self._tokens)}
        self.pad_token_id = self.vocab[SPECIAL_TOKENS["pad_token"]]
        self.unk_token_id = self.vocab[SPECIAL_TOKENS["unk_token"]]
        self.cls_token_id = self.vocab[SPECIAL_TOKENS["cls_token"]]
        self.sep_token_id = self.vocab[SPECIAL_TOKENS["sep_token"]]
        self.mask_token_id = self.vocab[SPECIAL_TOKENS["mask_token"]]
        self._pieces = _build_pipeline(self.vocab, do_lower_case, split_special_tokens)
        self._word_cache: dict[str, list[int]] = {}

    @classmethod
    def from_pretrained(cls, name_or_dir: PathLike, **overrides: Any) -> "WordPieceTokenizer":
        """Open a directory with vocab.txt (and tokenizer_config.json), or a published model.

        Args:
            name_or_dir: a directory, or a name such as "convbert-base" (downloads its vocab.txt).
            overrides: constructor arguments that win over the saved ones.

        Raises:
            UserError: neither a directory nor a known name; no vocab.txt; unreadable settings.
        """
        directory = Path(name_or_dir)
        if not directory.is_dir():
            return cls(pretrained_file(str(name_or_dir), VOCAB_FILE), **overrides)
        vocab_file = directory / VOCAB_FILE
        if not vocab_file.is_file():
            raise UserError(
                "vocabulary",
                f"{directory} has no {VOCAB_FILE}: copy the vocabulary of the model there",
            )
        return cls(vocab_file, **{**_read_config(directory / CONFIG_FILE), **overrides})

    def save_pretrained(self, directory: PathLike) -> None:
        """Write vocab.txt and tokenizer_config.json, each whole or not at all."""
        config = {
            "tokenizer_class": type(self).__name__,
            **{key: getattr(self, key) for key in _SETTINGS},
            **SPECIAL_TOKENS,
        }
        if not self.label_names:
            del config["label_names"]
        with atomic_write(Path(directory) / VOCAB_FILE) as file:
            file.writelines(f"{token}\n" for token in self._tokens)
        with atomic_write(Path(directory) / CONFIG_FILE) as file:
            json.dump(config, file, ensure_ascii=False, indent=2)
            file.write("\n")
        add_to_manifest(directory, "checkpoint", (VOCAB_FILE, CONFIG_FILE))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self._tokens)

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of [PAD], [UNK], [CLS], [SEP] and [MASK]."""
        return [self.vocab[token] for token in SPECIAL_TOKENS.values()]

    def tokenize(self, text: str) -> list[str]:
        """Split a text into word pieces, without special tokens around them."""
        return self.convert_ids_to_tokens(self._split([text])[0])

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        """Look tokens up; a token outside the vocabulary is [UNK]."""
        return [self.vocab.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Look ids up; an id outside the vocabulary is an IndexError."""
        if len(ids) and min(ids) < 0:
            raise IndexError(f"negative token id {min(ids)}")
        return [self._tokens[index] for index in ids]

    def __call__(
        self,
        text: str | Sequence[Text],
        text_pair: str | Sequence[str] | None = None,
        max_seq_len: int | None = None,
        pad_to_max_seq_len: bool = False,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = False,
        return_length: bool = False,
    ) -> dict[str, Any]:
        """Encode one text or a list of them, optionally each with its pair.

        Args:
            text: a string; or a list of strings or (string, string) pairs.
            text_pair: the second sentence(s): a string for a string, a list for a list.
            max_seq_len: longest sequence, special tokens included; a longer one is cut, the longer
                sentence of a pair first. None: ``model_max_length``.
            pad_to_max_seq_len: fill up with [PAD] to exactly that length.
            return_token_type_ids: add "token_type_ids" (0 first sentence, 1 second).
            return_attention_mask: add "attention_mask" (1 token, 0 padding).
            return_length: add "seq_len", the length without padding.

        Returns:
            {"input_ids", ...}: lists of int for a string, lists of lists for a list.
        """
        single = isinstance(text, str)
        texts = _as_list(text, text_pair)
        bound = self.model_max_length if max_seq_len is None else max_seq_len
        rows = self.batch_encode(texts, bound)
        width = bound if pad_to_max_seq_len else 0
        ids = [_pad(row.input_ids, width, self.pad_token_id) for row in rows]
        result: dict[str, Any] = {"input_ids": ids}
        if return_token_type_ids:
            result["token_type_ids"] = [_pad(row.token_type_ids, width, 0) for row in rows]
        lengths = [len(row.input_ids) for row in rows]
        if return_attention_mask:
            result["attention_mask"] = [_pad([1] * length, width, 0) for length in lengths]
        if return_length:
            result["seq_len"] = lengths
        return {key: value[0] for key, value in result.items()} if single else result

    def batch_encode(self, texts: Sequence[Text], max_seq_len: int) -> list[Features]:
        """Encode many texts at once.

        Words recur, so each word is looked up in a cache first; the Rust library splits the new
        ones. A space always ends a word, hence the ids are those of the whole text.

        Args:
            texts: strings or (string, string) pairs.
            max_seq_len: longest sequence, special tokens included.
        """
        pairs = [text for text in texts if not isinstance(text, str)]
        if max_seq_len < (3 if pairs else 2):
            raise ValueError(f"max_seq_len {max_seq_len} leaves no room for [CLS] and [SEP]")
        if not pairs:
            return [self._frame(ids, max_seq_len) for ids in self._split(texts)]
        flat: list[str] = []
        for text in texts:
            if isinstance(text, str):
                flat.append(text)
            else:
                first, second = text
                flat += first, second
        ids = iter(self._split(flat))
        return [
            self._frame(next(ids), max_seq_len)
            if isinstance(text, str)
            else self._frame_pair(next(ids), next(ids), max_seq_len)
            for text in texts
        ]

    def _split(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of each text, without special tokens around them."""
        words = [str.split(text, " ") for text in texts]
        lookup = self._word_ids(set(chain.from_iterable(words))).__getitem__
        return [list(chain.from_iterable(map(lookup, row))) for row in words]

    def _word_ids(self, words: set[str]) -> dict[str, list[int]]:
        """Return a table that holds at least the piece ids of these distinct words."""
        cache = self._word_cache  # entries are never removed, so a concurrent call is safe
        new = list(words.difference(cache))
        if not new:
            return cache
        found = {word: pieces.ids for word, pieces in zip(new, self._run(new))}
        short = {word: ids for word, ids in found.items() if len(word) <= CACHED_WORD_CHARS}
        if len(cache) + len(short) <= CACHED_WORDS:
            cache.update(short)
        else:  # start over rather than keep the oldest words for ever
            self._word_cache = short if len(short) <= CACHED_WORDS else {}
        found.update((word, cache[word]) for word in words if word in cache)
        return found

    def _run(self, texts: Sequence[str]) -> list:
        """Split texts in the Rust library, in parallel threads."""
        try:
            return self._pieces(texts, add_special_tokens=False)
        except TypeError:  # lone surrogates; the normalizer drops what takes their place
            return self._pieces([without_surrogates(t) for t in texts], add_special_tokens=False)

    def _frame(self, ids: list[int], max_seq_len: int) -> Features:
        truncated = len(ids) > max_seq_len - 2
        kept = ids[: max_seq_len - 2] if truncated else ids
        input_ids = [self.cls_token_id, *kept, self.sep_token_id]
        return Features(input_ids, [0] * len(input_ids), truncated)

    def _frame_pair(self, first: list[int], second: list[int], max_seq_len: int) -> Features:
        keep_first, keep_second = _longest_first(len(first), len(second), max_seq_len - 3)
        first_ids = [self.cls_token_id, *first[:keep_first], self.sep_token_id]
        second_ids = [*second[:keep_second], self.sep_token_id]
        types = [0] * len(first_ids) + [1] * len(second_ids)
        truncated = keep_first + keep_second < len(first) + len(second)
        return Features(first_ids + second_ids, types, truncated)


def read_vocab(path: PathLike) -> list[str]:
    """Read a vocabulary: the tokens in the order of their ids.

    Raises:
        UserError: unreadable, not UTF-8, a token twice, or a special token missing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            "file-unreadable", f"cannot read vocabulary {path}: {error.strerror}"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            "encoding", f"vocabulary {path} is not UTF-8 at byte {error.start}"
        ) from None
    tokens = text.rstrip("\n").split("\n")  # not splitlines: a token may be an exotic line break
    seen: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if token in seen:
            raise UserError(
                "vocabulary",
                f"vocabulary {path}: line {line} repeats line {seen[token]}: '{token}'",
            )
        seen[token] = line
    missing = [token for token in SPECIAL_TOKENS.values() if token not in seen]
    if missing:
        raise UserError(
            "vocabulary", f"vocabulary {path} lacks {', '.join(missing)}: give a BERT vocab.txt"
        )
    return tokens


def _build_pipeline(vocab: dict[str, int], do_lower_case: bool, split_special_tokens: bool):
    """Return the Rust tokenizer's batch function."""
    unknown = SPECIAL_TOKENS["unk_token"]
    model = WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=MAX_WORD_CHARS)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=do_lower_case)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    if not split_special_tokens:
        tokenizer.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS.values()]
        )
    return tokenizer.encode_batch_fast


def _read_config(path: Path) -> dict[str, Any]:
    """Read the constructor arguments out of tokenizer_config.json; {} where there is none."""
    if not path.is_file():
        return {}
    config = read_json(str(path))
    known = {key: config[key] for key in _SETTINGS if config.get(key) is not None}
    for key, value in known.items():
        if not isinstance(value, _SETTINGS[key]):
            kind = _SETTINGS[key].__name__
            raise UserError("tokenizer", f"{path}: '{key}' is {value!r}, it must be of type {kind}")
    return known


def _as_list(text: str | Sequence[Text], text_pair: str | Sequence[str] | None) -> Sequence[Text]:
    single = isinstance(text, str)
    texts = [text] if single else text
    if text_pair is None:
        return texts
    pairs = [text_pair] if single else text_pair
    if isinstance(pairs, str) or len(pairs) != len(texts):
        raise ValueError("text and text_pair must be two strings or two equal-length lists")
    return list(zip(texts, pairs))


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Share ``room`` pieces between two sentences by shortening the longer one first.

    Same result as the Rust library's "longest_first": when both exceed half of the room, the
    longer one (the second, if equal) keeps the odd piece.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)


def _pad(values: list[int], width: int, fill: int) -> list[int]:
    return values + [fill] * (width - len(values))
