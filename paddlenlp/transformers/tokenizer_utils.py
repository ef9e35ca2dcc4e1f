"""WordPiece tokenization over the Rust library ``tokenizers``, in upstream's call form.

Paddle is never imported here, so a client or an HTTP worker can tokenize without it.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from paddlenlp.transformers.checkpoint import VOCAB_FILE
from paddlenlp.transformers.tokenizer_settings import (
    CONFIG_FILE,
    MAX_WORD_CHARS,
    AddedToken,
    TokenizerSettings,
    config_of,
    find_vocab,
    read_settings,
    read_vocab,
)
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write
from paddlenlp.utils.hub import pretrained_file
from paddlenlp.utils.products import add_to_manifest
from paddlenlp.utils.text import without_surrogates

Text = str | tuple[str, str]

CACHED_WORDS = 1 << 16  # bounds of the word cache: about 20 MB at most
CACHED_WORD_CHARS = 32


class Features(NamedTuple):
    """One encoded text: ``input_ids`` and ``token_type_ids`` of equal length, no padding."""

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool = False


class WordPieceTokenizer:
    """BERT's basic + WordPiece tokenization: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``.

    Args:
        vocab_file: ``vocab.txt``, UTF-8 with one token per line, the line number from 0 is the id;
            or the ``tokenizer.json`` of transformers.
        do_lower_case: lower-case the text and strip accents.
        label_names: class names by label id, kept with the tokenizer so that a saved model can
            name its answers.
        settings: the fields of `TokenizerSettings`.

    Raises:
        UserError: the vocabulary or a setting cannot be used.
    """

    def __init__(
        self,
        vocab_file: PathLike,
        do_lower_case: bool = True,
        label_names: Sequence[str] | None = None,
        **settings: Any,
    ):
        self.vocab_file = str(vocab_file)
        names = list(label_names) if label_names else None
        self.settings = TokenizerSettings(do_lower_case, label_names=names, **settings)
        vars(self).update(vars(self.settings))
        special = self.settings.special_tokens
        self._lines = read_vocab(vocab_file, special.values())
        self.vocab = {token: index for index, token in enumerate(self._lines)}
        self._tokens = [*self._lines, *self._number_added_tokens()]
        for role, token in special.items():
            setattr(self, f"{role}_id", self.vocab[token])
        self._rust = self._build()
        self._pieces = self._rust.encode_batch_fast
        # A token that spans words, or takes the spaces beside it, is looked for in whole texts.
        self._by_word = not self.settings.added_tokens and " " not in "".join(special.values())
        self._word_cache: dict[str, list[int]] = {}

    def _number_added_tokens(self) -> list[str]:
        """Add the added tokens to the vocabulary; returns those that have no line in it."""
        new = []
        for token in self.settings.added_tokens:
            number = self.vocab.setdefault(token.content, len(self._lines) + len(new))
            if number == len(self._lines) + len(new):
                new.append(token.content)
            if token.id not in (None, number):
                raise UserError(
                    "vocabulary",
                    f"added token '{token.content}' has the id {token.id}, but by the vocabulary "
                    f"{self.vocab_file} it is {number}: use the vocabulary that belongs to it",
                )
        return new

    def _build(self) -> Tokenizer:
        """The Rust tokenizer."""
        settings = self.settings
        lines = {token: self.vocab[token] for token in self._lines}
        model = WordPiece(
            lines, unk_token=settings.unk_token, max_input_chars_per_word=MAX_WORD_CHARS
        )
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = BertNormalizer(
            handle_chinese_chars=settings.tokenize_chinese_chars,
            strip_accents=settings.strip_accents,
            lowercase=settings.do_lower_case,
        )
        tokenizer.pre_tokenizer = BertPreTokenizer()
        special = [
            AddedToken(token, special=True, normalized=False)
            for token in settings.special_tokens.values()
        ]
        tokens = {token.content: token for token in (*special, *settings.added_tokens)}
        for token in sorted(tokens.values(), key=lambda token: self.vocab[token.content]):
            add = tokenizer.add_special_tokens if token.special else tokenizer.add_tokens
            flags = {key: value for key, value in token._asdict().items() if key not in _NO_FLAGS}
            add([tokenizers.AddedToken(token.content, **flags)])
        tokenizer.encode_special_tokens = settings.split_special_tokens
        return tokenizer

    @classmethod
    def from_pretrained(cls, name_or_dir: PathLike, **overrides: Any) -> "WordPieceTokenizer":
        """Open the tokenizer files of a directory, or of a published model.

        Args:
            name_or_dir: a directory, or a name such as "convbert-base" (downloads its vocab.txt).
            overrides: constructor arguments that win over the saved ones.

        Raises:
            UserError: neither a directory nor a known name, or files that cannot be used.
        """
        directory = Path(name_or_dir)
        if not directory.is_dir():
            return cls(pretrained_file(str(name_or_dir), VOCAB_FILE), **overrides)
        return cls(find_vocab(directory), **{**read_settings(directory), **overrides})

    def save_pretrained(self, directory: PathLike) -> None:
        """Write vocab.txt and tokenizer_config.json, each whole or not at all."""
        config = {"tokenizer_class": type(self).__name__, **config_of(self.settings, self.vocab)}
        with atomic_write(Path(directory) / VOCAB_FILE) as file:
            file.writelines(f"{token}\n" for token in self._lines)
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
        return [self.vocab[token] for token in self.settings.special_tokens.values()]

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
        if not self._by_word:
            return [pieces.ids for pieces in self._run(list(texts))] if texts else []
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
        kept = self._cut(ids, max_seq_len - 2) if truncated else ids
        input_ids = [self.cls_token_id, *kept, self.sep_token_id]
        return Features(input_ids, [0] * len(input_ids), truncated)

    def _cut(self, ids: list[int], keep: int) -> list[int]:
        """Keep the first ids, or the last ones where ``truncation_side`` is left."""
        return ids[max(0, len(ids) - keep) :] if self.truncation_side == "left" else ids[:keep]

    def _frame_pair(self, first: list[int], second: list[int], max_seq_len: int) -> Features:
        keep_first, keep_second = _longest_first(len(first), len(second), max_seq_len - 3)
        first_ids = [self.cls_token_id, *self._cut(first, keep_first), self.sep_token_id]
        second_ids = [*self._cut(second, keep_second), self.sep_token_id]
        types = [0] * len(first_ids) + [1] * len(second_ids)
        truncated = keep_first + keep_second < len(first) + len(second)
        return Features(first_ids + second_ids, types, truncated)


# What the Rust library's AddedToken does not take.
_NO_FLAGS = ("content", "id")


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
