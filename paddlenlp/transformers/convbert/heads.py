"""The heads of ConvBERT for fine-tuning on tokens, spans and choices.

Parameter names are those of upstream's checkpoints. Shapes: B batch, L length, H hidden,
C classes, M choices. The sentence classifier is in `modeling`.
"""

import paddle
from paddle import nn

from paddlenlp.transformers.convbert.call_forms import class_loss, refuse_attentions, result
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.cpu_ops import axis_size
from paddlenlp.transformers.convbert.layers import linear
from paddlenlp.transformers.convbert.modeling import ConvBertHeadModel, head_dropout


class ConvBertForTokenClassification(ConvBertHeadModel):
    """ConvBERT with one label per token (named entities, parts of speech)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.dropout = head_dropout(config)
        self.classifier = linear(config, config.hidden_size, config.num_classes)

    def head(self, x, words) -> paddle.Tensor:
        """Logits [B, L, C]."""
        return self.classifier(self.dropout(x))


class ConvBertForQuestionAnswering(ConvBertHeadModel):
    """ConvBERT with the start and end of an answer span (SQuAD)."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.classifier = linear(config, config.hidden_size, 2)

    def forward(
        self,
        input_ids,
        token_type_ids=None,
        position_ids=None,
        attention_mask=None,
        inputs_embeds=None,
        start_positions=None,
        end_positions=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        """Return the logits of the start and of the end, each [B, L].

        With ``start_positions`` and ``end_positions`` [B] int64 the mean of both losses comes
        first. Other arguments as in `ConvBertHeadModel.forward`.
        """
        refuse_attentions(output_attentions)
        inputs = (input_ids, token_type_ids, position_ids, attention_mask, inputs_embeds)
        x, hidden = self.encode(inputs, output_hidden_states)
        start, end = paddle.unbind(self.classifier(x), axis=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (class_loss(start, start_positions) + class_loss(end, end_positions)) / 2
        values = {"loss": loss, "start_logits": start, "end_logits": end, "hidden_states": hidden}
        return result(values, return_dict)


class ConvBertForMultipleChoice(ConvBertHeadModel):
    """ConvBERT with one score per candidate answer (SWAG, RocStories)."""

    reads_first_token_only = True

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.pooler = nn.LayerDict(
            {"dense": linear(config, config.hidden_size, config.hidden_size)}
        )
        self.dropout = head_dropout(config)
        self.classifier = linear(config, config.hidden_size, 1)

    def encode(self, inputs, output_hidden_states) -> tuple:
        """Make each choice of [B, M, L], or [B, M, L, E] for embeddings, a separate row."""
        rows = tuple(None if each is None else each.flatten(0, 1) for each in inputs)
        # Not super(), which to_static cannot trace.
        return ConvBertHeadModel.encode(self, rows, output_hidden_states)

    def head(self, x, words) -> paddle.Tensor:
        """Logits [B, M]; ``labels`` are the numbers of the right choices [B]."""
        pooled = paddle.tanh(self.pooler.dense(x[:, 0]))  # [B * M, H]
        scores = self.classifier(self.dropout(pooled))  # [B * M, 1]
        return scores.reshape([axis_size(words, 0), axis_size(words, 1)])
