"""The model that fine-tuning starts from."""

from argparse import Namespace

from convbert.text.processing import TextProcessor
from convbert.training.settings import DROPOUTS, SIZES, given
from paddlenlp.transformers import ConvBertConfig, ConvBertForSequenceClassification
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.utils.hub import local_model


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
