"""WordPiece tokenization with the Rust library ``tokenizers``, in upstream's call form.

This module never imports Paddle, so that a client or the HTTP front end can use it without Paddle.
"""

import functools
import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from paddlenlp.transformers.checkpoint import VOCAB_FILE
from paddlenlp.transformers.tokenizer_calls import Features, Text, TokenizerCalls, longest_first
from paddlenlp.transformers.tokenizer_settings import (
    CONFIG_FILE,
    MAX_WORD_CHARS,
    AddedToken,
    TokenizerSettings,
    config_of,
    read_settings,
)
from paddlenlp.transformers.vocabulary import find_vocab, read_vocab
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write
from paddlenlp.utils.hub import PRETRAINED_MODELS, local_model, pretrained_file
from paddlenlp.utils.products import add_to_manifest
from paddlenlp.utils.text import without_surrogates

CACHED_WORDS = 1 << 16  # bounds of the word cache: about 20 MB at most
CACHED_WORD_CHARS = 32


class WordPieceTokenizer(TokenizerCalls):
    """BERT's basic + WordPiece tokenization: ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``.

    Args:
        vocab_file: ``vocab.txt``, UTF-8 with one token per line, whose id is the line number from
            0; or the ``tokenizer.json`` of transformers.
        do_lower_case: lower-case the text and strip accents.
        label_names: class names by label id; they are saved with the tokenizer, so that a saved
            model can name its answers.
        settings: the fields of `TokenizerSettings`.

    Raises:
        UserError: the vocabulary or a setting cannot be used.
    """

    # Upstream's names for the published models.
    resource_files_names = {"vocab_file": VOCAB_FILE}
    pretrained_init_configuration = {name: {"do_lower_case": True} for name in PRETRAINED_MODELS}
    max_model_input_sizes = dict.fromkeys(PRETRAINED_MODELS, 512)
    padding_side = "right"
    pad_token_type_id = 0

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
        _split_in_one_thread_after_fork()
        self._rust = self._build()
        self._pieces = self._rust.encode_batch_fast
        # Tokens that span several words or include spaces must be searched in whole texts.
        self._by_word = not self.settings.added_tokens and " " not in "".join(special.values())
        self._word_cache: dict[str, list[int]] = {}

    def _number_added_tokens(self) -> list[str]:
        """Add the added tokens to the vocabulary; return those that are not in its file."""
        new = []
        for token in self.settings.added_tokens:
            number = self.vocab.setdefault(token.content, len(self._lines) + len(new))
            if number == len(self._lines) + len(new):
                new.append(token.content)
            if token.id not in (None, number):
                raise UserError(
                    "vocabulary",
                    f"added token '{token.content}' has the id {token.id}, but by the vocabulary "
                    f"{self.vocab_file} it has {number}: use the vocabulary that belongs to it",
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
        """Open the tokenizer files of a directory, or of a bundled or published model.

        Args:
            name_or_dir: a directory, or a name such as "convbert-base" (downloads its vocab.txt).
            overrides: constructor arguments that override the saved ones.

        Raises:
            UserError: it is neither a directory nor a known name, or a file cannot be used.
        """
        directory = local_model(name_or_dir)
        if directory is None:
            return cls(pretrained_file(str(name_or_dir), VOCAB_FILE), **overrides)
        return cls(find_vocab(directory), **{**read_settings(directory), **overrides})

    def save_pretrained(self, directory: PathLike) -> None:
        """Write vocab.txt and tokenizer_config.json, each atomically."""
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

    def batch_encode(self, texts: Sequence[Text], max_seq_len: int) -> list[Features]:
        """Encode many texts at once.

        Words recur, so each word is looked up in a cache first, and the Rust library splits only
        new words. A space always ends a word, so the ids are the same as for the whole text.

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
        """Return a table with at least the piece ids of these distinct words."""
        cache = self._word_cache  # entries are never removed, so a concurrent call is safe
        new = list(words.difference(cache))
        if not new:
            return cache
        found = {word: pieces.ids for word, pieces in zip(new, self._run(new))}
        short = {word: ids for word, ids in found.items() if len(word) <= CACHED_WORD_CHARS}
        if len(cache) + len(short) <= CACHED_WORDS:
            cache.update(short)
        else:  # start again instead of keeping the oldest words forever
            self._word_cache = short if len(short) <= CACHED_WORDS else {}
        found.update((word, cache[word]) for word in words if word in cache)
        return found

    def _run(self, texts: Sequence[str]) -> list:
        """Split texts in the Rust library, in parallel threads."""
        try:
            return self._pieces(texts, add_special_tokens=False)
        except TypeError:  # lone surrogates; the normalizer removes their replacements
            return self._pieces([without_surrogates(t) for t in texts], add_special_tokens=False)

    def _frame(self, ids: list[int], max_seq_len: int) -> Features:
        truncated = len(ids) > max_seq_len - 2
        kept = self._cut(ids, max_seq_len - 2) if truncated else ids
        input_ids = [self.cls_token_id, *kept, self.sep_token_id]
        return Features(input_ids, [0] * len(input_ids), truncated)

    def _cut(self, ids: list[int], keep: int) -> list[int]:
        """Keep the first ids, or the last ones if ``truncation_side`` is left."""
        return ids[max(0, len(ids) - keep) :] if self.truncation_side == "left" else ids[:keep]

    def _frame_pair(self, first: list[int], second: list[int], max_seq_len: int) -> Features:
        keep_first, keep_second = longest_first(len(first), len(second), max_seq_len - 3)
        first_ids = [self.cls_token_id, *self._cut(first, keep_first), self.sep_token_id]
        second_ids = [*self._cut(second, keep_second), self.sep_token_id]
        types = [0] * len(first_ids) + [1] * len(second_ids)
        truncated = keep_first + keep_second < len(first) + len(second)
        return Features(first_ids + second_ids, types, truncated)


@functools.cache
def _split_in_one_thread_after_fork() -> None:
    """Let forked processes (DataLoader workers) use a tokenizer that was used before the fork.

    The Rust library's threads do not exist in the child: with TOKENIZERS_PARALLELISM=true it would
    wait for them forever, and without the variable it prints a warning. The child gets "false"; the
    parent keeps its value.
    """
    name = "TOKENIZERS_PARALLELISM"
    before: list[str | None] = []

    def prepare() -> None:
        before.append(os.environ.get(name))
        os.environ[name] = "false"

    def restore() -> None:
        value = before.pop()
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=prepare, after_in_parent=restore)


# Fields that the Rust library's AddedToken does not have.
_NO_FLAGS = ("content", "id")
