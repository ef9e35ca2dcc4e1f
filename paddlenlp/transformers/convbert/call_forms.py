"""The call forms of PaddleNLP 2.2 and 2.8, kept out of the models' code.

2.2 builds a body from keywords and a head around it: ``ConvBertModel(**sizes)``,
``ConvBertForSequenceClassification(body, num_classes=3)``; it returns bare tensors. 2.8 adds
``labels`` (the loss comes first in the result), ``output_hidden_states`` and ``return_dict``.
Without any of these arguments the result is what 2.2 returns.
"""

import dataclasses
from typing import Any

import paddle
import paddle.nn.functional as F

from paddlenlp.transformers.convbert.configuration import ConvBertConfig


class ModelOutput(dict):
    """A result by name: ``output.logits``, ``output["logits"]``, ``output[0]``."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"this result has {', '.join(self)}, not '{name}'")
        return self[name]

    def __getitem__(self, key: Any) -> Any:
        return self.to_tuple()[key] if isinstance(key, (int, slice)) else super().__getitem__(key)

    def to_tuple(self) -> tuple:
        """The values in their order."""
        return tuple(self.values())


def result(values: dict[str, Any], return_dict: bool | None) -> Any:
    """Return named values as 2.8 does: as an object, a tuple, or a single value."""
    found = {name: value for name, value in values.items() if value is not None}
    if return_dict:
        return ModelOutput(found)
    return next(iter(found.values())) if len(found) == 1 else tuple(found.values())


def refuse_attentions(output_attentions: bool | None) -> None:
    """Raise ValueError for attention weights, the only output of 2.8 that is not supported."""
    if output_attentions:
        raise ValueError("output_attentions is not supported: the weights are not kept")


def class_loss(logits: paddle.Tensor, labels: paddle.Tensor | None) -> paddle.Tensor | None:
    """The mean loss of logits [..., C]: cross entropy, or squared error if C is 1; -100 is ignored.

    Args:
        logits: [..., C] float.
        labels: [...] int64 (float if C is 1); None gives None.
    """
    if labels is None:
        return None
    classes = logits.shape[-1]
    if classes == 1:
        return F.mse_loss(logits.flatten(), labels.flatten().astype(logits.dtype))
    return F.cross_entropy(logits.reshape([-1, classes]), labels.flatten(), ignore_index=-100)


class CallForms(type(paddle.nn.Layer)):
    """Lets a model be built from a configuration, from keywords, or around a body."""

    def __call__(cls, *args: Any, **fields: Any):
        first, *rest = args or (None,)
        fields.update(zip(("num_classes", "dropout"), rest))
        if "dropout" in fields:
            fields["classifier_dropout"] = fields.pop("dropout")
        body = first if isinstance(first, paddle.nn.Layer) else None
        config = fields.pop("config", first if body is None else body.config)
        if config is None:
            config = ConvBertConfig(**fields)
        elif fields:
            config = dataclasses.replace(config, **fields)
        model = super().__call__(config)
        if body is not None:
            setattr(model, cls.base_model_prefix, body)
        return model
