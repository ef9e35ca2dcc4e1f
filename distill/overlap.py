"""Count which texts used for training occur in, or contain, SST-2's dev and test sentences.

    python distill/overlap.py --data_dir SST-2 [--input_file more.txt ...]

Texts are compared as runs of whole words in lower case, punctuation aside. SST-2's own train file
is reported for itself: it is official and has phrases in common with dev and test. A further file
with a dev or test sentence of five words or more in it makes the exit status 1: shorter ones, such
as "very bad", are in any English text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from distill.data import Containers, read_rows
from paddlenlp.utils.lines import read_lines

WORD = re.compile(r"[a-z0-9]+")
LONG_PHRASE = 5  # words; shorter runs are common in any English text


def plain(text: str) -> str:
    """Lower case words and numbers with single spaces between them."""
    return " ".join(WORD.findall(text.lower()))


def count_overlap(texts: Sequence[str], sentences: Sequence[str]) -> dict[str, int]:
    """Count equal texts, texts that contain a sentence, and long texts that a sentence contains."""
    texts = [plain(text) for text in texts]
    sentences = [plain(sentence) for sentence in sentences]
    in_sentences, in_texts = Containers(sentences), Containers(texts)
    wanted = set(sentences) - {""}
    long_texts = [text for text in texts if text and len(text.split()) >= LONG_PHRASE]
    found = [sentence for sentence in wanted if in_texts.of(sentence)]
    return {
        "equal": sum(text in wanted for text in texts),
        "sentences_found": len(found),
        "long_sentences_found": sum(len(text.split()) >= LONG_PHRASE for text in found),
        "long_phrases_of_sentences": sum(bool(in_sentences.of(text)) for text in long_texts),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="folder with train, dev and test.tsv")
    parser.add_argument("--input_file", action="append", default=[], help="more training texts")
    args = parser.parse_args(argv)
    data = Path(args.data_dir)
    sources = {"SST-2 train": read_rows(data / "train.tsv").texts}
    for path in args.input_file:
        sources[path] = [line for _, line in read_lines(path) if line.strip()]
    found_in_more = 0
    for split in ("dev", "test"):
        sentences = read_rows(data / f"{split}.tsv").texts
        for name, texts in sources.items():
            counts = count_overlap(texts, sentences)
            if name in args.input_file:
                found_in_more += counts["long_sentences_found"]
            print(
                f"{name} ({len(texts)} texts), {split} ({len(sentences)} sentences): "
                f"{counts['equal']} texts equal a sentence, "
                f"{counts['sentences_found']} sentences are contained in a text "
                f"({counts['long_sentences_found']} of {LONG_PHRASE} words or more), "
                f"{counts['long_phrases_of_sentences']} texts of {LONG_PHRASE} words or more "
                "are contained in a sentence"
            )
    return 1 if found_in_more else 0


if __name__ == "__main__":
    run_main(main)
