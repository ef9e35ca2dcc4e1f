"""The heads of ConvBERT for fine-tuning on tokens, spans and choices.

Parameter names are those of upstream's checkpoints. Shapes: B batch, L length, H hidden,
C classes, M choices. The sentence classifier is in `modeling`.
"""

import paddle
from paddle import nn

from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.cpu_ops import axis_size
from paddlenlp.transformers.convbert.layers import linear
from paddlenlp.transformers.convbert.modeling import (
    ConvBertModel,
    ConvBertPretrainedModel,
    head_dropout,
)


class ConvBertForTokenClassification(ConvBertPretrainedModel):
    """ConvBERT with one label per token (named entities, parts of speech)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)
        self.dropout = head_dropout(config)
        self.classifier = linear(config, config.hidden_size, config.num_classes)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, attention_mask=None):
        """Return logits [B, L, C]; arguments as in `ConvBertModel.forward`."""
        x = self.convbert(input_ids, token_type_ids, position_ids, attention_mask)
        return self.classifier(self.dropout(x))


class ConvBertForQuestionAnswering(ConvBertPretrainedModel):
    """ConvBERT with the start and end of an answer span (SQuAD)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)
        self.classifier = linear(config, config.hidden_size, 2)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, attention_mask=None):
        """Return the logits of the start and of the end, each [B, L].

        Arguments as in `ConvBertModel.forward`.
        """
        x = self.convbert(input_ids, token_type_ids, position_ids, attention_mask)
        start, end = paddle.unbind(self.classifier(x), axis=-1)
        return start, end


class ConvBertPooler(nn.Layer):
    """Dense and tanh on the first token."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        self.dense = linear(config, config.hidden_size, config.hidden_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map the encoder's output [B, L or 1, H] to [B, H]."""
        return paddle.tanh(self.dense(x[:, 0]))


class ConvBertForMultipleChoice(ConvBertPretrainedModel):
    """ConvBERT with one score per candidate answer (SWAG, RocStories)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)
        self.pooler = ConvBertPooler(config)
        self.dropout = head_dropout(config)
        self.classifier = linear(config, config.hidden_size, 1)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, attention_mask=None):
        """Score the choices of each question.

        Args:
            input_ids: [B, M, L] int64, question and choice as one sequence.
            token_type_ids, position_ids, attention_mask: [B, M, L] or None, as in
                `ConvBertModel.forward`.

        Returns:
            Logits [B, M] float.
        """
        given = (input_ids, token_type_ids, position_ids, attention_mask)
        given = [None if each is None else each.flatten(0, 1) for each in given]
        x = self.convbert(*given, first_token_only=True)
        scores = self.classifier(self.dropout(self.pooler(x)))  # [B * M, 1]
        return scores.reshape([axis_size(input_ids, 0), axis_size(input_ids, 1)])
