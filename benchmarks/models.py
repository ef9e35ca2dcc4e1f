"""Random models of any size, exported for a measurement."""

from __future__ import annotations

from pathlib import Path

from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.products import product_directory

ROOT = Path(__file__).resolve().parents[1]
REVIEWS = ROOT / "data" / "reviews"


def export_random(config: ConvBertConfig, folder: Path):
    """Export a classifier with the random weights of the alignment; return the model.

    The vocabulary is the embedded one, filled up to the number of words of the configuration.

    Args:
        config: of the model; at least the words of the embedded vocabulary.
        folder: where the exported model goes.
    """
    from alignment.ours import CLASSIFIER, random_model
    from convbert.inference.export import save_program
    from paddlenlp.transformers import ConvBertTokenizer

    model = random_model(config, CLASSIFIER)
    words = (REVIEWS / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += [f"[unused{number}]" for number in range(config.vocab_size - len(words))]
    with product_directory(folder, "exported model") as work:
        save_program(model, str(work / "inference"))
        (work / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        ConvBertTokenizer(work / "vocab.txt").save_pretrained(work)
        model.save_config(str(work))
    return model
