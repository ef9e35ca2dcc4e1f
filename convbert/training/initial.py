"""Load what fine-tuning starts from: the vocabulary and the model that the flags name."""

from __future__ import annotations

from convbert.text.processing import TextProcessor
from convbert.training.settings import TrainConfig
from paddlenlp.transformers import (
    ConvBertConfig,
    ConvBertForSequenceClassification,
    ConvBertTokenizer,
)
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import local_model


def open_tokenizer(config: TrainConfig, label_names: tuple[str, ...] | None) -> ConvBertTokenizer:
    """Open the vocabulary of ``--vocab_file`` or of the named model.

    Raises:
        UserError: it is missing, damaged, or cannot be downloaded.
    """
    source, names = config.model_name_or_path, list(label_names) if label_names else None
    if config.vocab_file:
        return ConvBertTokenizer(config.vocab_file, label_names=names)
    if source.endswith(".json"):
        raise UserError(
            "command-line",
            f"--model_name_or_path {source} contains no vocabulary: give --vocab_file too",
        )
    return ConvBertTokenizer.from_pretrained(source, label_names=names)


def initial_model(
    config: TrainConfig, num_classes: int, processor: TextProcessor
) -> ConvBertForSequenceClassification:
    """Load the named model, or with ``--from_scratch`` make one of that size with random weights.

    Raises:
        UserError: the model is unknown, or it does not fit its weights, the vocabulary or
            ``--max_seq_length``.
    """
    tokenizer, source = processor.tokenizer, config.model_name_or_path
    overrides = {**config.model_overrides, "num_classes": num_classes}
    if config.from_scratch:
        overrides.update(vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id)
        model = ConvBertForSequenceClassification(_named_size(source, **overrides))
    else:
        model = ConvBertForSequenceClassification.from_pretrained(source, **overrides)
    processor.check_fits(model.config, config.vocab_file or source)
    return model


def _named_size(source: str, **overrides) -> ConvBertConfig:
    """The size of a known model, of a checkpoint directory or of a model_config.json."""
    directory = local_model(source)
    if directory is not None:
        source = str(directory / CONFIG_FILE)
    if source.endswith(".json"):
        return ConvBertConfig.from_dict(read_json(source), **overrides)
    return ConvBertConfig.preset(source, **overrides)
