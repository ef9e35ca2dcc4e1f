"""Compare ConvBertTokenizer with transformers.ConvBertTokenizer, and record the reference's ids.

Needs an environment with transformers (the tests do not: they read the recorded ids):

    python tests/reference/tokenizer_golden.py --vocab DIR/vocab.txt --data_dir DIR/SST-2
    python tests/reference/tokenizer_golden.py ... --write     # record the ids anew
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.datasets import load_dataset
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.transformers.vocabulary import read_vocab
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write

SMALL_VOCAB = ROOT / "data" / "reviews" / "vocab.txt"
GOLDEN = ROOT / "tests" / "fixtures" / "tokenizer_golden.json"
SST2_LENGTH = 128
SST2_BATCH = 1024

# (text, text pair, longest sequence)
CASES: list[tuple[str, str | None, int]] = [
    ("a warm and funny film .", None, 128),
    ("", None, 128),
    ("   \t\n ", None, 128),
    ("UPPER Case, mixed-CASE; don't stop!?", None, 128),
    ("Café crème brûlée, naïve façade, Ångström, Ünïcödé", None, 128),
    ("e\u0301 a\u0308 n\u0303 \u0301alone", None, 128),  # combining accents, one after a space
    ("ﬁne ligature ﬀ ① ㎏ Ⅷ ｆｕｌｌ ｗｉｄｔｈ", None, 128),
    ("İstanbul ıI ΣΊΣΥΦΟΣ straße ẞ", None, 128),
    ("电影很好看 movie这 一部", None, 128),
    ("映画はとても面白い。カタカナ", None, 128),
    ("영화가 정말 재미있다", None, 128),
    ("\U00020000 \U0002a700 \uf900 \u3400", None, 128),  # rarer ideographs
    (
        "great \U0001f600\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f468\u200d\U0001f469",
        None,
        128,
    ),
    ("nul\x00byte bell\x07 esc\x1b del\x7f c1\x85next\x9f", None, 128),
    ("a\x00 \x00 b\ufffdc \u200bzero\u200bwidth \ufeffbom \u00adsoft", None, 128),
    ("no\u00a0break thin\u2009space ideographic\u3000space line\u2028sep\u2029par", None, 128),
    ("tab\tnew\nline\r\nreturn\x0bvertical\x0cfeed", None, 128),
    ("quotes “curly” ‘single’ «guillemets» — dash – … ellipsis", None, 128),
    ("$ 5 €6 £7 ¥8 100% a+b=c x^y ~tilde `tick |pipe <tag>", None, 128),
    ("http://example.org/a?b=c&d=e user@example.org #tag", None, 128),
    ("good" * 25, None, 128),  # exactly 100 characters
    ("good" * 25 + "s", None, 128),  # 101: [UNK]
    ("x" * 100 + " " + "x" * 101 + " " + "x" * 5000, None, 128),
    ("é" * 101 + " " + "e\u0301" * 60, None, 128),  # the bound counts what the normalizer leaves
    ("the film is good and " * 150, None, 512),
    ("word " * 511, None, 512),
    ("good " * 510, None, 512),
    ("good bad fun dull", None, 2),
    ("good bad fun dull", None, 3),
    ("good bad fun dull", None, 5),
    ("good bad fun dull", None, 6),
    ("the film is good", "the film is bad", 128),
    ("", "", 128),
    ("good", "", 128),
    ("", "bad", 128),
    ("the film is good and warm", "dull", 8),
    ("dull", "the film is good and warm", 8),
    ("one two three four five six", "seven eight nine ten eleven twelve", 3),
    ("one two three four five six", "seven eight nine ten eleven twelve", 4),
    ("one two three four five six", "seven eight nine ten eleven twelve", 10),
    ("one two three four five six", "seven eight nine ten eleven twelve", 11),
    ("the film is good and " * 100, "the film is bad and " * 100, 512),
    ("a [SEP] b", None, 128),
    ("[CLS] good [SEP] bad [PAD] [MASK] [UNK]", None, 128),
    ("x[SEP]y [sep] [ SEP ] [SEP", "[SEP]", 128),
    ("##good ##s #good", None, 128),
]


def reference_tokenizer(vocab: Path, split_special_tokens: bool):
    """Return transformers' tokenizer and prove that it uses ``vocab``.

    transformers 5 takes ``vocab=`` and silently ignores ``vocab_file=``.
    """
    import transformers

    tokenizer = transformers.ConvBertTokenizerFast(
        vocab=str(vocab), split_special_tokens=split_special_tokens
    )
    assert tokenizer.get_vocab() == {word: number for number, word in enumerate(read_vocab(vocab))}
    return tokenizer


def reference_ids(reference, text: str, pair: str | None, length: int) -> list[list[int]]:
    """Return [input_ids, token_type_ids] of the reference."""
    # In lists: a lone empty second sentence would count as none at all.
    pairs = None if pair is None else [pair]
    encoded = reference([text], pairs, truncation="longest_first", max_length=length)
    return [encoded["input_ids"][0], encoded["token_type_ids"][0]]


def our_ids(tokenizer, text: str, pair: str | None, length: int) -> list[list[int]]:
    """Return [input_ids, token_type_ids] of ConvBertTokenizer."""
    row = tokenizer.batch_encode([text if pair is None else (text, pair)], length)[0]
    return [row.input_ids, row.token_type_ids]


def batches(rows: Sequence[str], size: int = SST2_BATCH) -> Iterable[Sequence[str]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def digest(id_rows: Iterable[Sequence[int]]) -> str:
    """Return the SHA-256 of lists of ids, one line each."""
    result = hashlib.sha256()
    for ids in id_rows:
        result.update((" ".join(map(str, ids)) + "\n").encode())
    return result.hexdigest()


def check_cases(vocab: Path, split: bool) -> list[dict]:
    """Compare all cases and 2,000 random pairs; return the reference's ids of the cases."""
    reference, ours = (
        reference_tokenizer(vocab, split),
        ConvBertTokenizer(vocab, split_special_tokens=split),
    )
    recorded = []
    for text, pair, length in CASES:
        ids, types = reference_ids(reference, text, pair, length)
        if our_ids(ours, text, pair, length) != [ids, types]:
            raise UserError(
                "outputs-differ", f"{vocab}: different ids for {(text, pair, length)!r}"
            )
        recorded.append({"text": text, "pair": pair, "max_seq_len": length, "split": split})
        recorded[-1].update(input_ids=ids, token_type_ids=types)
    generator = random.Random(0)
    for _ in range(2000):
        first, second = (
            ["good bad é"[: generator.randint(0, 9)]] * generator.randint(0, 9) for _ in "ab"
        )
        case = (" ".join(first), " ".join(second), generator.randint(3, 40))
        if our_ids(ours, *case) != reference_ids(reference, *case):
            raise UserError("outputs-differ", f"{vocab}: different ids for {case!r}")
    return recorded


def check_sst2(vocab: Path, data_dir: Path) -> dict:
    """Compare all sentences of SST-2; return rows and digest of the reference's ids by split."""
    reference, ours = reference_tokenizer(vocab, True), ConvBertTokenizer(vocab)
    recorded = {}
    for split in ("train", "dev", "test"):
        examples = load_dataset("glue", "sst-2", splits=split, data_dir=data_dir)
        texts = [example["sentence"] for example in examples]
        expected, found = [], []
        for batch in batches(texts):
            expected += reference(batch, truncation=True, max_length=SST2_LENGTH)["input_ids"]
            found += [row.input_ids for row in ours.batch_encode(batch, SST2_LENGTH)]
        different = [text for text, a, b in zip(texts, expected, found) if a != b]
        if different or len(found) != len(expected):
            raise UserError(
                "outputs-differ",
                f"SST-2 {split}: {len(different)} different, first {different[:1]!r}",
            )
        recorded[split] = {"rows": len(texts), "sha256": digest(expected)}
        print(f"SST-2 {split}: {len(texts)} sentences, identical ids")
    return recorded


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--vocab", type=Path, required=True, help="vocabulary of convbert-base")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of SST-2")
    parser.add_argument("--write", action="store_true", help=f"record the ids in {GOLDEN.name}")
    args = parser.parse_args(argv)
    cases = []
    for vocab in (SMALL_VOCAB, args.vocab):
        for split in (True, False):
            recorded = check_cases(vocab, split)
            cases += recorded if vocab == SMALL_VOCAB else []
            print(f"{vocab.name}, split_special_tokens={split}: {len(CASES)} cases, identical ids")
    golden = {"cases": cases, "sst-2": check_sst2(args.vocab, args.data_dir)}
    if args.write:
        import transformers

        golden = {"reference": f"transformers {transformers.__version__}", **golden}
        with atomic_write(GOLDEN) as file:
            json.dump(golden, file, indent=None, separators=(",", ":"))
            file.write("\n")
        print(f"wrote {GOLDEN.name}")


if __name__ == "__main__":
    run_main(main)
