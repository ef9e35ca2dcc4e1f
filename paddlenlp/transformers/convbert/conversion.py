"""Conversion of a whole checkpoint directory between our layout and transformers'.

The names of the tensors are one table, ``paddlenlp.transformers.convbert.weight_names``.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from paddlenlp import transformers
from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.convbert import weight_names
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.tokenizer import ConvBertTokenizer
from paddlenlp.transformers.labels import fillers
from paddlenlp.transformers.tokenizer_settings import read_settings
from paddlenlp.transformers.vocabulary import find_vocab, has_vocab
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json
from paddlenlp.utils.products import product_directory


def convert(source: str, target: str, layout: str, architecture: str | None = None) -> str:
    """Convert one checkpoint; ``target`` is written atomically.

    Args:
        source: a checkpoint directory in either layout.
        target: directory to write; an earlier checkpoint is replaced.
        layout: "paddle" (also upstream's) or "hf" (transformers').
        architecture: our class of the model; None: the one in the configuration.

    Returns:
        The architecture.

    Raises:
        UserError: the source cannot be read, a tensor is missing or superfluous (named), or the
            architecture is unknown.
    """
    config_file, _ = checkpoint.find_files(source)
    config_path = os.path.join(source, config_file)
    architecture = architecture or _architecture(checkpoint.read_model_config(config_path))
    if architecture is None:
        raise UserError("model-name", f"{config_path} names no architecture: give --architecture")
    weight_names.find_head(architecture)
    model = getattr(transformers, architecture).from_pretrained(source, new_head=False)
    settings = read_settings(source)
    with product_directory(target, "checkpoint", [source]) as work:
        if layout == "hf":
            _write_hf(model, work, settings.get("label_names"))
        else:
            model.save_pretrained(str(work))
        if has_vocab(source):
            _write_tokenizer(source, work, settings, model.config)
    return architecture


def _architecture(raw: dict[str, Any]) -> str | None:
    """Our class of a model from its configuration in any format; None if not given."""
    named = raw.get("architecture") or raw.get("init_class")
    if named:
        return named
    for hf_class in raw.get("architectures") or ():
        ours = [name for name, head in weight_names.HEADS.items() if head.hf_class == hf_class]
        return ours[0] if ours else hf_class
    return None


def _write_hf(model, directory: Path, labels: list[str] | None) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a model."""
    from safetensors.numpy import save_file

    architecture, config = type(model).__name__, model.config
    head = weight_names.HEADS[architecture]
    weights = {name: np.asarray(tensor) for name, tensor in model.state_dict().items()}
    renamed = weight_names.to_hf(weights, architecture)
    save_file(renamed, str(directory / checkpoint.HF_WEIGHTS_FILE), metadata={"format": "pt"})
    if not labels or len(labels) != config.num_classes:
        labels = fillers(config.num_classes)
    # transformers ignores but keeps unknown keys (mask_padding_in_conv, architecture).
    fields = config.to_dict()
    del fields["num_classes"]  # transformers counts id2label instead
    content = {
        "architectures": [head.hf_class],
        "model_type": "convbert",
        "architecture": architecture,
        **fields,
        **head.hf_settings,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    write_json(directory / checkpoint.HF_CONFIG_FILE, content)


def _write_tokenizer(
    source: str, target: Path, settings: dict[str, Any], config: ConvBertConfig
) -> None:
    """Write vocabulary and settings; newer checkpoints of transformers have no vocab.txt."""
    positions = config.max_position_embeddings
    length = min(settings.get("model_max_length", positions), positions)
    settings = {**settings, "model_max_length": length}
    tokenizer = ConvBertTokenizer(find_vocab(source), **settings)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            "vocabulary",
            f"the vocabulary of {source} has {tokenizer.vocab_size} words but its model has "
            f"{config.vocab_size}: use the vocabulary that belongs to the model",
        )
    tokenizer.save_pretrained(target)
