"""WordPiece tokenization with the Rust library ``tokenizers``, in upstream's call form.

This module never imports Paddle, so that a client or the HTTP front end can use it without Paddle.
"""

import functools
import json
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from paddlenlp.transformers.checkpoint import VOCAB_FILE
from paddlenlp.transformers.tokenizer_settings import (
    CONFIG_FILE,
    MAX_WORD_CHARS,
    TokenizerSettings,
    read_settings,
)
from paddlenlp.transformers.tokenizer_utils import Features, Text, TokenizerCalls
from paddlenlp.transformers.vocabulary import find_vocab, read_vocab
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_write
from paddlenlp.utils.hub import PRETRAINED_MODELS, local_model, pretrained_file
from paddlenlp.utils.products import add_to_manifest
from paddlenlp.utils.text import without_surrogates

CACHED_WORDS = 1 << 16  # bounds of the word cache: about 20 MB at most
CACHED_WORD_CHARS = 32


class ConvBertTokenizer(TokenizerCalls):
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
        # Tokens that span several words or include spaces must be searched in whole texts.
        self._by_word = not self.settings.added_tokens and " " not in "".join(special.values())
        self._word_cache: dict[str, list[int]] = {}

    def _number_added_tokens(self) -> list[str]:
        """Add the added tokens to the vocabulary; return those that are not in its file."""
        new = []
        for given, token in self.settings.added_tokens:
            number = self.vocab.setdefault(token.content, len(self._lines) + len(new))
            if number == len(self._lines) + len(new):
                new.append(token.content)
            if given not in (None, number):
                raise UserError(
                    "vocabulary",
                    f"added token '{token.content}' has id {given}, but {self.vocab_file} gives "
                    f"it {number}: use the vocabulary that belongs to it",
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
        special = settings.special_tokens.values()
        tokens = {token: AddedToken(token, special=True, normalized=False) for token in special}
        tokens.update((token.content, token) for _, token in settings.added_tokens)
        for token in sorted(tokens.values(), key=lambda token: self.vocab[token.content]):
            add = tokenizer.add_special_tokens if token.special else tokenizer.add_tokens
            add([token])
        tokenizer.encode_special_tokens = settings.split_special_tokens
        return tokenizer

    @classmethod
    def from_pretrained(cls, name_or_dir: PathLike, **overrides: Any) -> "ConvBertTokenizer":
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
        config = {"tokenizer_class": type(self).__name__, **vars(self.settings)}
        del config["added_tokens"]
        if not self.label_names:
            del config["label_names"]
        if self.settings.added_tokens:
            config["added_tokens_decoder"] = {
                self.vocab[token.content]: token.__getstate__()
                for _, token in self.settings.added_tokens
            }
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
        rows = self._pieces_of(texts, self._split)
        return [self._frame(parts, max_seq_len) for parts in rows]

    def _pieces_of(self, texts: Sequence[Text], split: Callable) -> list[list[list]]:
        """Split every sentence: one list of pieces for a text, two for a pair."""
        sentences = [(text,) if isinstance(text, str) else _both(*text) for text in texts]
        pieces = iter(split(list(chain.from_iterable(sentences))))
        return [[next(pieces) for _ in row] for row in sentences]

    def _split(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of each text, without special tokens around them."""
        if not self._by_word:
            return [pieces.ids for pieces in self._run(texts)]
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

    def _split_offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """(start, end) of every piece in its text; the word cache has no offsets."""
        return [pieces.offsets for pieces in self._run(texts, self._rust.encode_batch)]

    def _run(self, texts: Sequence[str], encode: Callable | None = None) -> list:
        """Split texts in the Rust library, in parallel threads."""
        encode = encode or self._rust.encode_batch_fast
        try:
            return encode(texts, add_special_tokens=False)
        except TypeError:  # lone surrogates; the normalizer removes their replacements
            return encode([without_surrogates(text) for text in texts], add_special_tokens=False)

    def _frame(self, parts: list[list[int]], bound: int) -> Features:
        """``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]`` of the ids of one or two sentences."""
        kept = self._cut(parts, bound)
        input_ids, types = [self.cls_token_id], [0]
        for number, ids in enumerate(kept):
            input_ids += ids
            input_ids.append(self.sep_token_id)
            types += [number] * (len(ids) + 1)
        return Features(input_ids, types, kept is not parts)

    def _frame_offsets(self, parts: list[list], bound: int) -> list[tuple[int, int]]:
        """The offsets of the tokens of `_frame`; special tokens have (0, 0)."""
        offsets = [(0, 0)]
        for spans in self._cut(parts, bound):
            offsets += [*spans, (0, 0)]
        return offsets

    def _cut(self, parts: list[list], bound: int) -> list[list]:
        """Shorten one or two sentences to ``bound`` tokens with [CLS] and [SEP], the longer first.

        Same result as "longest_first" of the Rust library: if both exceed half of the room,
        the longer one (the second, if equal) keeps the odd piece.
        """
        room = bound - 1 - len(parts)
        if room < 0:
            raise ValueError(f"max_seq_len {bound} leaves no room for [CLS] and [SEP]")
        lengths = [len(part) for part in parts]
        if sum(lengths) <= room:
            return parts
        if len(parts) == 1:
            keep = [room]
        else:
            shorter = min(*lengths, room // 2)
            keep = [shorter, room - shorter]
            if lengths[0] > lengths[1]:
                keep.reverse()
        if self.truncation_side == "left":
            return [part[len(part) - count :] for part, count in zip(parts, keep)]
        return [part[:count] for part, count in zip(parts, keep)]


def _both(first: str, second: str) -> tuple[str, str]:
    """Fails for anything but two sentences."""
    return first, second


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
        del os.environ[name]
        if value is not None:
            os.environ[name] = value

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=prepare, after_in_parent=restore)
