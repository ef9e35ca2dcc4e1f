"""Vocabularies: ``vocab.txt``, or the WordPiece model in ``tokenizer.json``."""

from collections.abc import Iterable
from pathlib import Path

from paddlenlp.transformers.checkpoint import HF_TOKENIZER_FILE, VOCAB_FILE, read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, file_error

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def read_vocab(path: PathLike, special: Iterable[str] = SPECIAL_TOKENS.values()) -> list[str]:
    """Read a vocabulary, ``vocab.txt`` or ``tokenizer.json``: the tokens in the order of their ids.

    A repeated token is kept, so that the ids of the others do not change; its id is its last line,
    as in the reader of BERT's authors. Ids that a ``tokenizer.json`` skips get a name that no text
    can contain.

    Raises:
        UserError: unreadable, not UTF-8, not a WordPiece vocabulary, or a special token is missing.
    """
    path = Path(path)
    if path.suffix == ".json":
        ids = _packed_ids(path)
        # Brackets are separate words, so no text gives these tokens.
        tokens = [f"[gap {number}]" for number in range(max(ids.values()) + 1)]
        for token, number in ids.items():
            tokens[number] = token
    else:
        tokens = _lines(path)
    missing = [token for token in special if token not in set(tokens)]
    if missing:
        words = ", ".join(missing)
        raise UserError("vocabulary", f"{path} does not contain {words}: give a BERT vocab.txt")
    return tokens


def has_vocab(directory: PathLike) -> bool:
    """Whether a directory contains a vocabulary; some checkpoints are published without one."""
    return any((Path(directory) / name).is_file() for name in (VOCAB_FILE, HF_TOKENIZER_FILE))


def find_vocab(directory: PathLike) -> Path:
    """Return the vocabulary file of a directory.

    Raises:
        UserError: there is none, or ``vocab.txt`` and ``tokenizer.json`` differ.
    """
    plain, packed = (Path(directory) / name for name in (VOCAB_FILE, HF_TOKENIZER_FILE))
    if not plain.is_file() and not packed.is_file():
        message = f"{directory} has no {VOCAB_FILE}: copy the vocabulary of the model there"
        raise UserError("vocabulary", message)
    if plain.is_file() and packed.is_file():
        lines = {token: number for number, token in enumerate(_lines(plain))}
        different = [t for t, number in _packed_ids(packed).items() if lines.get(t) != number]
        if different:
            raise UserError(
                "vocabulary",
                f"{plain} and {packed} give '{different[0]}' different ids: delete the wrong file",
            )
    return plain if plain.is_file() else packed


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise file_error(error) from None
    except UnicodeDecodeError as error:
        message = f"vocabulary {path} is not UTF-8 at byte {error.start}: convert it to UTF-8"
        raise UserError("encoding", message) from None
    return text.rstrip("\n").split("\n")  # not splitlines: a token may be another line separator


def _packed_ids(path: Path) -> dict[str, int]:
    """The ids by token in ``tokenizer.json``."""
    model = read_json(str(path)).get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict) or model.get("type") != "WordPiece" or not vocab:
        raise UserError("vocabulary", f"{path} has no WordPiece vocabulary: ConvBERT needs one")
    ids = list(vocab.values())
    if not all(type(n) is int and n >= 0 for n in ids) or len(set(ids)) < len(ids):
        message = f"{path} has token ids that are repeated or not numbers: correct the ids"
        raise UserError("vocabulary", message)
    if max(ids) > 2 * len(ids) + 1000:
        message = f"{path} has {len(ids)} tokens but token id {max(ids)}: correct the ids"
        raise UserError("vocabulary", message)
    return vocab
