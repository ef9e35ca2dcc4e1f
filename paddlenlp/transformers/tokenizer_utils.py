"""Upstream's calls of a tokenizer, built on the few methods of `ConvBertTokenizer`.

The names and keywords are those of PaddleNLP 2.2 and 2.8 (``max_seq_len`` and ``max_length``,
``pad_to_max_seq_len`` and ``padding``); lists of texts give lists by name, as in 2.8.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Text = str | tuple[str, str]


class Features(NamedTuple):
    """One encoded text: ``input_ids`` and ``token_type_ids`` of equal length, no padding."""

    input_ids: list[int]
    token_type_ids: list[int]
    truncated: bool = False


class TokenizerCalls:
    """The calls that need only `batch_encode` and the vocabulary."""

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def all_special_tokens(self) -> list[str]:
        """[PAD], [UNK], [CLS], [SEP] and [MASK], or what this vocabulary has instead."""
        return list(self.settings.special_tokens.values())

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self.vocab[token] for token in self.all_special_tokens]

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        return dict(self.vocab)

    def tokenize(self, text: str) -> list[str]:
        """Split a text into word pieces, without special tokens around them."""
        return self.convert_ids_to_tokens(self._split([text])[0])

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Look up one or several tokens; a token outside the vocabulary is [UNK]."""
        if isinstance(tokens, str):
            return self.vocab.get(tokens, self.unk_token_id)
        return [self.vocab.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(
        self, ids: int | Sequence[int], skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Look up one or several ids; an id outside the vocabulary raises IndexError."""
        if isinstance(ids, (int, np.integer)):
            return self.convert_ids_to_tokens([ids])[0]
        if len(ids) and min(ids) < 0:
            raise IndexError(f"negative token id {min(ids)}")
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._tokens[index] for index in ids if index not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join word pieces into a text."""
        return " ".join(tokens).replace(" ##", "").strip()

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False, **_: Any) -> str:
        """Convert ids to a text: pieces are joined, words are separated by spaces."""
        tokens = self.convert_ids_to_tokens(np.asarray(ids).tolist(), skip_special_tokens)
        return self.convert_tokens_to_string(tokens)

    def batch_decode(self, rows: Sequence[Sequence[int]], **options: Any) -> list[str]:
        """`decode` for several rows."""
        return [self.decode(ids, **options) for ids in rows]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, in ids."""
        parts = [ids for ids in (token_ids_0, token_ids_1) if ids is not None]
        return self._frame(parts, _NO_BOUND).input_ids

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token types of `build_inputs_with_special_tokens`."""
        parts = [ids for ids in (token_ids_0, token_ids_1) if ids is not None]
        return self._frame(parts, _NO_BOUND).token_type_ids

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Number of special tokens that a text or a pair gets."""
        return 3 if pair else 2

    def __call__(
        self,
        text: str | Sequence[Text],
        text_pair: str | Sequence[str] | None = None,
        max_seq_len: int | None = None,
        pad_to_max_seq_len: bool = False,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = False,
        return_length: bool = False,
        max_length: int | None = None,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        add_special_tokens: bool = True,
        return_position_ids: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_tensors: str | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        return_overflowing_tokens: bool = False,
    ) -> dict[str, Any]:
        """Encode one text or a list of them, optionally each with its pair.

        Args:
            text: a string; or a list of strings or (string, string) pairs.
            text_pair: the second sentence(s): a string for a string, a list for a list.
            max_seq_len, max_length: longest sequence, special tokens included; a longer one is cut,
                the longer sentence of a pair first. None: ``model_max_length``.
            pad_to_max_seq_len: pad with [PAD] to exactly that length.
            return_token_type_ids: add "token_type_ids" (0 first sentence, 1 second).
            return_attention_mask: add "attention_mask" (1 token, 0 padding).
            return_length: add "seq_len", the length without padding.
            padding: True or "longest": to the longest row; "max_length": like pad_to_max_seq_len.
            truncation: False or "do_not_truncate": nothing is cut; True and None mean
                "longest_first", and so does "only_second" with ``stride``.
            add_special_tokens: False: only the pieces of a single text.
            return_position_ids, return_special_tokens_mask: add "position_ids",
                "special_tokens_mask" (1 at [CLS], [SEP] and padding).
            return_offsets_mapping: add "offset_mapping", (start, end) of each token in the
                characters of its text; (0, 0) for special tokens.
            return_tensors: "np" or "pd" for arrays or Paddle tensors [B, L]; rows must be padded.
            stride: if above 0, a list of pairs gives each first sentence with overlapping windows
                of the second one; windows start this many tokens apart, as in PaddleNLP, and
                "overflow_to_sample" is the number of each window's pair.
            is_split_into_words: a text is a list of words, and several are a list of such lists.
            return_overflowing_tokens: not supported.

        Returns:
            {"input_ids", ...}: lists of int for a string, lists of lists for a list.

        Raises:
            ValueError: arguments that are not supported, alone or together.
        """
        if is_split_into_words:
            text, text_pair = _join_words(text), _join_words(text_pair)
        texts = _as_list(text, text_pair)
        pairs = sum(not isinstance(each, str) for each in texts)
        has_singles = pairs < len(texts)
        one_sided = "only_second" if stride else "only_first" if has_singles else None
        _refuse(
            return_overflowing_tokens=return_overflowing_tokens,
            stride=stride and (isinstance(text, str) or has_singles),
            truncation=truncation not in (*_TRUNCATIONS, one_sided),
            padding=padding not in _PADDINGS,
            return_offsets_mapping=return_offsets_mapping and is_split_into_words,
            add_special_tokens=pairs and not add_special_tokens,
        )
        bound = max_seq_len or max_length or self.model_max_length
        is_cut = stride or truncation not in (False, "do_not_truncate")
        longest = bound if is_cut else _NO_BOUND
        pieces, samples = self._pieces_of(texts, self._split), None
        if stride:
            pieces, samples = _windows(pieces, bound, stride)
        rows = [self._frame(parts, longest) for parts in pieces]
        edges = slice(None) if add_special_tokens else slice(1, -1)
        ids = [row.input_ids[edges] for row in rows]
        columns = {"input_ids": (ids, self.pad_token_id)}  # name -> rows, padding
        if return_token_type_ids:
            columns["token_type_ids"] = ([row.token_type_ids[edges] for row in rows], 0)
        if return_attention_mask:
            columns["attention_mask"] = ([[1] * len(row) for row in ids], 0)
        if return_offsets_mapping:
            spans = self._pieces_of(texts, self._split_offsets)
            if stride:
                spans, _ = _windows(spans, bound, stride)
            offsets = [self._frame_offsets(parts, longest)[edges] for parts in spans]
            columns["offset_mapping"] = (offsets, (0, 0))
        width = max(map(len, ids), default=0) if padding in (True, "longest") else 0
        if pad_to_max_seq_len or padding == "max_length":
            width = bound
        result: dict[str, Any] = {
            name: [row + [fill] * (width - len(row)) for row in values]
            for name, (values, fill) in columns.items()
        }
        if return_position_ids:
            result["position_ids"] = [list(range(len(row))) for row in result["input_ids"]]
        if return_special_tokens_mask:
            frame = {self.cls_token_id, self.sep_token_id, self.pad_token_id}
            result["special_tokens_mask"] = [
                [int(number in frame) for number in row] for row in result["input_ids"]
            ]
        if stride:
            result["overflow_to_sample"] = samples
        if return_length:
            result["seq_len"] = [len(row) for row in ids]
        if return_tensors is not None:
            return {key: _as_tensor(value, return_tensors) for key, value in result.items()}
        if isinstance(text, str):
            return {key: value[0] for key, value in result.items()}
        return result


def _as_list(text: str | Sequence[Text], text_pair: str | Sequence[str] | None) -> Sequence[Text]:
    single = isinstance(text, str)
    texts = [text] if single else text
    if text_pair is None:
        return texts
    pairs = [text_pair] if single else text_pair
    if isinstance(pairs, str) or len(pairs) != len(texts):
        raise ValueError("text and text_pair must be two strings or two equal-length lists")
    return list(zip(texts, pairs))


def _join_words(text: Any) -> Any:
    """One text from a list of words, or several from a list of such lists, joined with spaces."""
    if text is None or isinstance(text, str):
        return text
    if all(isinstance(word, str) for word in text):
        return " ".join(text)
    return [" ".join(words) for words in text]


def _refuse(**unsupported: Any) -> None:
    """Raise ValueError for the first argument whose value is not supported in this call."""
    for name, given in unsupported.items():
        if given:
            raise ValueError(f"this value of {name} is not supported here: see docs/upstream.md")


def _windows(pairs: list, bound: int, stride: int) -> tuple[list, list[int]]:
    """Each first sentence with windows of the second one that start ``stride`` pieces apart.

    Returns:
        The pairs [first sentence, window], and for each the number of its pair in ``pairs``.
    """
    windows, samples = [], []
    for sample, (first, second) in enumerate(pairs):
        room = bound - 3 - len(first)
        if room < 1:
            raise ValueError(f"the first text leaves no room in {bound} tokens")
        step = min(stride, room)
        for start in range(0, max(1, len(second) - room + step), step):
            windows.append([first, second[start : start + room]])
            samples.append(sample)
    return windows, samples


_TRUNCATIONS = (None, True, False, "longest_first", "do_not_truncate")
_PADDINGS = (True, False, "longest", "max_length", "do_not_pad")
_NO_BOUND = 1 << 40  # longer than any text: nothing is cut


def _as_tensor(rows: list, kind: str) -> Any:
    array = np.asarray(rows, dtype=np.int64)
    if kind == "np":
        return array
    if kind != "pd":
        raise ValueError(f"return_tensors must be 'np' or 'pd', not {kind!r}")
    import paddle

    return paddle.to_tensor(array)
