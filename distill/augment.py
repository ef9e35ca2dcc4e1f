r"""Write SST-2's training rows and variants of their sentences in which some words are replaced.

    python distill/augment.py --teacher teachers/minilm --data_dir runs/sst2-held-out \
        --output_dir runs/sst2-augmented

Most of SST-2's training rows are phrases; the variants are whole sentences, as a user's texts are.
Each word is replaced with probability --share by one of its --neighbours nearest words in the
teacher's word table (cosine). A variant has the label of its sentence in the file, but a replaced
word may turn its meaning: train with the logits of a teacher (``teacher_logits.py``) and a high
``--teacher_weight``. ``dev.tsv`` is copied.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import float_in, int_at_least, make_parser
from convbert.command.start import run_main
from distill.data import read_rows, whole_sentences
from paddlenlp.transformers import checkpoint
from paddlenlp.utils.products import product_directory

WORD_TABLE = "embeddings.word_embeddings.weight"


def nearest_words(
    table: np.ndarray, vocabulary: Sequence[str], words: Sequence[str], count: int
) -> dict[str, list[str]]:
    """The ``count`` whole words nearest to each of ``words`` that the vocabulary has.

    Args:
        table: [V, H] float, one row per entry of the vocabulary.
        vocabulary: V entries; those of letters only are whole words.
        words: words of the texts.
        count: neighbours per word.
    """
    whole = [row for row, entry in enumerate(vocabulary) if entry.isalpha() and entry.isascii()]
    places = {vocabulary[row]: place for place, row in enumerate(whole)}
    vectors = table[whole] / np.linalg.norm(table[whole], axis=1, keepdims=True)
    found = {}
    for word in sorted(set(words) & places.keys()):
        near = np.argsort(-(vectors @ vectors[places[word]]))[1 : count + 1]
        found[word] = [vocabulary[whole[place]] for place in near]
    return found


def replace_words(
    text: str, neighbours: dict[str, list[str]], share: float, random: np.random.Generator
) -> str:
    """Return ``text`` with about ``share`` of its words replaced by one of their neighbours."""
    words = text.split()
    chosen = random.random(len(words)) < share
    return " ".join(
        str(random.choice(neighbours[word])) if replace and word in neighbours else word
        for word, replace in zip(words, chosen)
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--teacher", required=True, help="folder with weights and tokenizer.json")
    parser.add_argument("--data_dir", required=True, help="folder that split.py wrote")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--variants", type=int_at_least(1), default=2, help="of each sentence")
    parser.add_argument("--share", type=float_in(0, 1), default=0.3, help="of the words, replaced")
    parser.add_argument("--neighbours", type=int_at_least(1), default=15)
    parser.add_argument("--seed", type=int_at_least(0), default=42)
    args = parser.parse_args(argv)

    rows = read_rows(Path(args.data_dir) / "train.tsv")
    teacher = Path(args.teacher)
    table = checkpoint.read_weights(str(teacher / checkpoint.HF_WEIGHTS_FILE))[WORD_TABLE]
    ids = checkpoint.read_json(str(teacher / "tokenizer.json"))["model"]["vocab"]
    sentences = [row for row in whole_sentences(rows.texts) if len(rows.texts[row].split()) > 2]
    words = [word for row in sentences for word in rows.texts[row].split()]
    neighbours = nearest_words(table, sorted(ids, key=ids.get), words, args.neighbours)

    random, lines, seen = np.random.default_rng(args.seed), [], set(rows.texts)
    for row in sentences * args.variants:
        text = replace_words(rows.texts[row], neighbours, args.share, random)
        if text not in seen:
            seen.add(text)
            lines.append(f"{text}\t{rows.labels[row]}\n")
    with product_directory(args.output_dir, "SST-2 split", [args.data_dir]) as work:
        content = (Path(args.data_dir) / "train.tsv").read_text(encoding="utf-8")
        (work / "train.tsv").write_text(content + "".join(lines), encoding="utf-8")
        shutil.copy(Path(args.data_dir) / "dev.tsv", work)
    print(f"{len(rows)} training rows and {len(lines)} variants of {len(sentences)} sentences")


if __name__ == "__main__":
    run_main(main)
