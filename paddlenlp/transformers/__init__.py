"""Models, tokenizer and learning-rate schedules under upstream's names.

A name is imported at its first use, so that the tokenizer can be used without importing Paddle.
"""

import importlib

_HOME = {
    "ConvBertClassificationHead": "convbert.modeling",
    "ConvBertConfig": "convbert.configuration",
    "ConvBertDiscriminator": "convbert.pretraining",
    "ConvBertForMaskedLM": "convbert.pretraining",
    "ConvBertForMultipleChoice": "convbert.heads",
    "ConvBertForPretraining": "convbert.pretraining",
    "ConvBertForQuestionAnswering": "convbert.heads",
    "ConvBertForSequenceClassification": "convbert.modeling",
    "ConvBertForTokenClassification": "convbert.heads",
    "ConvBertForTotalPretraining": "convbert.pretraining",
    "ConvBertGenerator": "convbert.pretraining",
    "ConvBertModel": "convbert.modeling",
    "ConvBertPretrainedModel": "convbert.pretrained",
    "ConvBertPretrainingCriterion": "convbert.pretraining",
    "ConvBertTokenizer": "convbert.tokenizer",
    "CosineDecayWithWarmup": "optimization",
    "LinearDecayWithWarmup": "optimization",
    "PretrainedModel": "convbert.pretrained",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        if name[:1].isupper():  # ImportError: Python would hide the hint of an AttributeError
            raise ImportError(f"{__name__} has no {name}: docs/upstream.md lists what it has")
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return __all__
