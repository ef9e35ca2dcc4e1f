"""Random models of any size, exported for a measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.products import product_directory

DEV_TEXTS = 16
TINY = {  # for trial runs
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "embedding_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 2000,
}
# The size of models/convbert-mini-sst2.
MINI = {
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "embedding_size": 128,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
MODELS = {**PRESETS, "convbert-mini": MINI, "tiny": TINY}


def random_classifier(config: ConvBertConfig, weights: Path):
    """Return a classifier with the random weights of the alignment, in evaluation mode.

    Args:
        config: the model's configuration.
        weights: .npz file to write the weights to, under transformers' names.
    """
    from alignment.ours import CLASSIFIER, random_model
    from paddlenlp.transformers.convbert.weight_names import to_hf

    model = random_model(config, CLASSIFIER)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(weights, **to_hf(arrays, config, CLASSIFIER))
    return model


def export_random(model, folder: Path) -> None:
    """Export a random classifier.

    The vocabulary is that of data/reviews, extended to the vocabulary size of the model.
    """
    from convbert.inference.export import save_program
    from paddlenlp.transformers import ConvBertTokenizer

    words = (REVIEWS / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += [f"[unused{number}]" for number in range(model.config.vocab_size - len(words))]
    with product_directory(folder, "exported model") as work:
        save_program(model, str(work / "inference"))
        (work / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        ConvBertTokenizer(work / "vocab.txt").save_pretrained(work)
        model.save_config(str(work))


def quantize_random(exported: Path, folder: Path, texts: int) -> None:
    """Quantize a random classifier for OpenVINO, calibrated on ``texts`` sentences of data/reviews.

    Its answers are near 0.5, so any loss of accuracy is accepted.
    """
    from convbert.inference.quantize import quantize_export
    from convbert.text.reading import Row
    from paddlenlp.datasets import load_dataset

    train, dev = load_dataset("glue", "sst-2", splits=["train", "dev"], data_dir=str(REVIEWS))
    rows = [Row(train[number]["sentence"]) for number in range(texts)]
    judged = [
        Row(dev[number]["sentence"], label_id=int(dev[number]["labels"]))
        for number in range(DEV_TEXTS)
    ]
    quantize_export(str(exported), str(folder), rows, judged, max_drop=100)
