"""Pretraining data: the token sequences of a text file, and their masks."""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from paddlenlp.datasets import load_dataset
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.lines import read_lines

IGNORED = -100  # label of the positions that the generator does not predict
MASK_TOKEN_SHARE = 0.85  # of the chosen positions; the others keep their word, as in ELECTRA's code


def read_sequences(config: Namespace, tokenizer: ConvBertTokenizer) -> list[np.ndarray]:
    """Read and tokenize the text; each sequence is ``[CLS] ... [SEP]``, int32, cut to length.

    Raises:
        UserError: the file is unreadable, not UTF-8, or has no words.
    """
    if config.input_file is None:
        examples = load_dataset("glue", "sst-2", "train", data_dir=str(REVIEWS))
        lines = [example["sentence"] for example in examples]
    else:
        lines = [line for _, line in read_lines(config.input_file) if line.strip()]
    room = config.max_seq_length - 2
    sequences = []
    for encoded in tokenizer.batch_encode(lines, max_seq_len=max(map(len, lines), default=1) + 2):
        words = encoded.input_ids[1:-1]
        for start in range(0, len(words), room):
            part = [tokenizer.cls_token_id, *words[start : start + room], tokenizer.sep_token_id]
            sequences.append(np.array(part, dtype=np.int32))
    if not sequences:
        raise UserError(
            "empty-input", f"{config.input_file} contains no words: give one sentence per line"
        )
    return sequences


def mask_tokens(
    ids: np.ndarray, tokenizer: ConvBertTokenizer, probability: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the words that the generator must predict: a share of each row, at least one.

    Args:
        ids: [B, L] int64.
        tokenizer: gives the special tokens, which are never chosen.
        probability: the share to choose.
        random: source of random numbers.

    Returns:
        The masked ids and the labels, -100 where not chosen, both [B, L] int64.
    """
    words = ~np.isin(ids, tokenizer.all_special_ids)
    order = np.where(words, random.random(ids.shape), np.inf).argsort(axis=1).argsort(axis=1)
    counts = np.maximum(1, np.round(probability * words.sum(axis=1))).astype(int)
    chosen = (order < counts[:, None]) & words
    hidden = chosen & (random.random(ids.shape) < MASK_TOKEN_SHARE)
    masked = np.where(hidden, tokenizer.mask_token_id, ids)
    return masked, np.where(chosen, ids, IGNORED)
