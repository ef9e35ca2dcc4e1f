"""Record transformers' ids for a table of tokenizer settings x texts, and check the way back.

    python tests/reference/tokenizer_settings_golden.py     # needs transformers

Each row of `SETTINGS` is a directory as transformers or PaddleNLP saves it. Its ids are recorded,
ours must equal them, and transformers must give the same ids for the directory that we save.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.transformers.vocabulary import SPECIAL_TOKENS
from paddlenlp.utils.files import atomic_write

GOLDEN = ROOT / "tests" / "fixtures" / "tokenizer_settings_golden.json"
VOCABULARY = """a b c e é . , ! < > [ ] x good film fun the it is was Good Film 电 影 un ##ny ##s
    ##ed <e> ##电 ##影 sep cls pad new ##x élan elan"""
WORDS = [*SPECIAL_TOKENS.values(), *VOCABULARY.split()]
TEXTS: list[tuple[str, str | None]] = [
    ("Good film, funny!", None),
    ("GOOD élan ÉLAN e\u0301", None),
    ("电影 good电影", None),
    ("a [SEP] b [MASK]", "[CLS]"),
    ("fun <e>ny <e> good<E>  <E>film", None),
    ("good  new york, newyork NEW YORK new  york", None),
    ("goo\x00d film\u200b a <s>", None),
    ("", None),
    ("good film is good " * 4, "the fun it was " * 5),
    ("é", "Good"),
]
LENGTH = 12


def added(content: str, **flags: bool) -> dict[str, Any]:
    """One added token in the form of tokenizer_config.json."""
    usual = {"lstrip": False, "rstrip": False, "single_word": False}
    return {"content": content, "normalized": True, "special": False, **usual, **flags}


def packed(added_tokens=(), truncation=None, gaps=(), **normalizer) -> dict[str, Any]:
    """A tokenizer.json."""
    marks = [("SpecialToken", "[CLS]", 0), ("Sequence", "A", 0), ("SpecialToken", "[SEP]", 0)]
    pair = [*marks, ("Sequence", "B", 1), ("SpecialToken", "[SEP]", 1)]
    template = {
        name: [{kind: {"id": token, "type_id": number}} for kind, token, number in form]
        for name, form in (("single", marks), ("pair", pair))
    }
    tokens = {t: {"id": t, "ids": [WORDS.index(t)], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
        **normalizer,
    }
    special = [added(t, special=True, normalized=False) for t in SPECIAL_TOKENS.values()]
    return {
        "version": "1.0",
        "truncation": truncation,
        "padding": None,
        "added_tokens": [{"id": n, **t} for n, t in enumerate(special)] + list(added_tokens),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", **template, "special_tokens": tokens},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: n for n, word in enumerate(WORDS) if n not in gaps},
        },
    }


def decoder(*tokens: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json with tokens after the vocabulary."""
    new = [token["content"] for token in tokens if token["content"] not in WORDS]
    ids = {word: number for number, word in enumerate([*WORDS, *new])}
    numbered = {str(ids[token["content"]]): token for token in tokens}
    return {"tokenizer_config.json": {"added_tokens_decoder": numbered}}


LEFT = {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
NEXT = len(WORDS)
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cased": {"tokenizer_config.json": {"do_lower_case": False}},
    "accents kept": {"tokenizer_config.json": {"strip_accents": False}},
    "cased without accents": {
        "tokenizer_config.json": {"do_lower_case": False, "strip_accents": True}
    },
    "Chinese words whole": {"tokenizer_config.json": {"tokenize_chinese_chars": False}},
    "special tokens split": {"tokenizer_config.json": {"split_special_tokens": True}},
    "cut on the left": {"tokenizer_config.json": {"truncation_side": "left"}},
    "unused keys": {
        "tokenizer_config.json": {
            "never_split": None,
            "clean_up_tokenization_spaces": True,
            "model_max_length": 10**30,
            "name_or_path": "x",
        }
    },
    "other special tokens": {"tokenizer_config.json": {"sep_token": "sep", "cls_token": "cls"}},
    "special tokens in their own file": {"special_tokens_map.json": {"sep_token": "sep"}},
    "special tokens as objects": {
        "special_tokens_map.json": {"mask_token": added("[MASK]", special=True, normalized=False)}
    },
    "added": decoder(added("<e>")),
    "added, new": decoder(added("<new>"), added("new york")),
    "added, as written": decoder(added("<E>", normalized=False)),
    "added, taking spaces": decoder(added("new", lstrip=True), added("york", rstrip=True)),
    "added, whole words": decoder(added("york", single_word=True)),
    "added, special": decoder(added("<s>", special=True, normalized=False)),
    "added, special and split": {
        "tokenizer_config.json": {
            "additional_special_tokens": ["<s>"],
            "split_special_tokens": True,
        }
    },
    "added in their own file": {"added_tokens.json": {"<n>": NEXT, "york": NEXT + 1}},
    "tokenizer.json": {"tokenizer.json": packed()},
    "tokenizer.json, cased": {"tokenizer.json": packed(lowercase=False)},
    "tokenizer.json, accents kept": {"tokenizer.json": packed(strip_accents=False)},
    "tokenizer.json, Chinese whole": {"tokenizer.json": packed(handle_chinese_chars=False)},
    "tokenizer.json, cut on the left": {"tokenizer.json": packed(truncation=LEFT)},
    "tokenizer.json, added": {"tokenizer.json": packed([{"id": NEXT, **added("york")}])},
}
# Ours does not read special tokens out of a text unless a file says so; transformers does.
ASSUMED = {"split_special_tokens": False}


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Write one row of `SETTINGS` as a directory."""
    folder.mkdir(parents=True, exist_ok=True)
    if "tokenizer.json" not in files:
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "ConvBertTokenizer", **files.get("tokenizer_config.json", {})}
    for name, content in {**files, "tokenizer_config.json": config}.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def ours(folder: Path) -> list[list[int]]:
    """Our ids of all texts."""
    tokenizer = open_ours(folder)
    return [tokenizer.batch_encode([_pair(*text)], LENGTH)[0].input_ids for text in TEXTS]


def open_ours(folder: Path) -> ConvBertTokenizer:
    """Our tokenizer of a directory, reading special tokens as transformers does."""
    given = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assumed = {key: value for key, value in ASSUMED.items() if key not in given}
    return ConvBertTokenizer.from_pretrained(folder, **assumed)


def _pair(text: str, pair: str | None):
    return text if pair is None else (text, pair)


def reference(folder: Path) -> list[list[int]]:
    """transformers' ids of all texts."""
    import transformers

    tokenizer = transformers.ConvBertTokenizer.from_pretrained(folder)
    return [
        tokenizer([text], pair and [pair], truncation="longest_first", max_length=LENGTH)[
            "input_ids"
        ][0]
        for text, pair in TEXTS
    ]


def main() -> None:
    """Compare, and write the recorded ids."""
    import transformers

    recorded, wrong = {}, []
    with tempfile.TemporaryDirectory() as work:
        for name, files in SETTINGS.items():
            folder, back = Path(work) / name, Path(work) / f"{name} saved"
            expected = reference(write(folder, files))
            open_ours(folder).save_pretrained(back)
            found = {"ours": ours(folder), "saved": ours(back), "saved, theirs": reference(back)}
            wrong += [(name, side) for side, ids in found.items() if ids != expected]
            recorded[name] = expected
    print(f"{len(SETTINGS)} settings x {len(TEXTS)} texts, different: {wrong or 'none'}")
    if wrong:
        sys.exit(1)
    with atomic_write(GOLDEN) as file:
        json.dump({"reference": f"transformers {transformers.__version__}", **recorded}, file)
        file.write("\n")


if __name__ == "__main__":
    main()
