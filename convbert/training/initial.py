"""Load what fine-tuning starts from: the vocabulary and the model that the flags name."""

from __future__ import annotations

from argparse import Namespace

from convbert.text.processing import TextProcessor
from convbert.training.settings import DROPOUTS, SIZES, given
from paddlenlp.transformers import (
    ConvBertConfig,
    ConvBertForSequenceClassification,
    ConvBertTokenizer,
)
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import local_model


def open_tokenizer(config: Namespace, label_names: tuple[str, ...] | None) -> ConvBertTokenizer:
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
    config: Namespace, num_classes: int, processor: TextProcessor
) -> ConvBertForSequenceClassification:
    """Load the named model, or with ``--from_scratch`` make one of that size with random weights.

    Raises:
        UserError: the model is unknown, or it does not fit its weights, the vocabulary or
            ``--max_seq_length``.
    """
    tokenizer, source = processor.tokenizer, config.model_name_or_path
    values = {**given(config, SIZES, DROPOUTS), "num_classes": num_classes}
    if not config.from_scratch:
        model = ConvBertForSequenceClassification.from_pretrained(source, **values)
    else:
        values.update(vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id)
        directory = local_model(source)
        file = str(directory / CONFIG_FILE) if directory else source
        if file.endswith(".json"):
            size = ConvBertConfig.from_dict(read_json(file), **values)
        else:
            size = ConvBertConfig.preset(source, **values)
        model = ConvBertForSequenceClassification(size)
    processor.check_fits(model.config, config.vocab_file or source)
    return model
