"""ConvBERT (Jiang et al. 2020, arXiv 2008.02496): embeddings, encoder and the sentence classifier.

Parameter names are those of upstream's checkpoints. Shapes: B batch, L length, E embedding,
H hidden, C classes. Token ids are int64, everything else is the default float type.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddlenlp.transformers.convbert import cpu_ops
from paddlenlp.transformers.convbert.call_forms import class_loss, refuse_attentions, result
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.layers import (
    GroupedLinear,
    MixedAttention,
    Shared,
    layer_norm,
    linear,
    normal_attr,
)
from paddlenlp.transformers.convbert.pretrained import ConvBertPretrainedModel


class ConvBertEmbeddings(nn.Layer):
    """Word, position and token-type embeddings, summed and normalised."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        width, attr = config.embedding_size, normal_attr(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, width, weight_attr=attr)
        self.position_embeddings = nn.Embedding(
            config.max_position_embeddings, width, weight_attr=attr
        )
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width, weight_attr=attr)
        self.layer_norm = layer_norm(config, width)
        self.dropout = cpu_ops.Dropout(config.hidden_dropout_prob)

    def forward(self, words, token_type_ids, position_ids=None) -> paddle.Tensor:
        """Embed words, as ids [B, L] or as embeddings [B, L, E]; returns [B, L, E]."""
        if position_ids is None:
            # arange, not cumsum: oneDNN's cumsum gives a wrong index in 2.6.
            position_ids = paddle.arange(cpu_ops.axis_size(words, 1), dtype="int64")
        if len(words.shape) == 2:
            words = self.word_embeddings(words)
        total = words + self.token_type_embeddings(token_type_ids)
        total = cpu_ops.add_bias(total, self.position_embeddings(position_ids))
        return self.dropout(self.layer_norm(total))


class ConvBertLayer(nn.Layer):
    """One encoder layer: mixed attention and feed-forward, each added and then normalised."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        feed_forward = GroupedLinear if config.num_groups > 1 else linear
        self.self_attn = MixedAttention(config)
        self.linear1 = feed_forward(config, hidden, inner)
        self.linear2 = feed_forward(config, inner, hidden)
        self.norm1 = layer_norm(config, hidden)
        self.norm2 = layer_norm(config, hidden)
        self.dropout = cpu_ops.Dropout(config.hidden_dropout_prob)
        self.activation = getattr(F, config.hidden_act)

    def forward(self, x, shared: Shared, first_token_only: bool = False) -> paddle.Tensor:
        """Map x [B, L, H] to [B, L, H], or to [B, 1, H] for the first token."""
        mixed = self.self_attn(x, shared, first_token_only)
        x = x[:, :1] if first_token_only else x
        x = self.norm1(x + self.dropout(mixed))
        inner = self.activation(self.linear1(x))  # [B, L, intermediate]
        return self.norm2(x + self.dropout(self.linear2(inner)))


class ConvBertModel(ConvBertPretrainedModel):
    """The body: ids to one vector per token."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.embeddings = ConvBertEmbeddings(config)
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = linear(config, config.embedding_size, config.hidden_size)
        layers = [ConvBertLayer(config) for _ in range(config.num_hidden_layers)]
        self.encoder = nn.LayerDict({"layers": nn.LayerList(layers)})  # as named in checkpoints

    def forward(
        self,
        input_ids,
        token_type_ids=None,
        position_ids=None,
        attention_mask=None,
        inputs_embeds=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
        first_token_only=False,
    ):
        """Encode token ids.

        Args:
            input_ids: [B, L] int64, ``L <= max_position_embeddings``; None with ``inputs_embeds``.
            token_type_ids: [B, L] int64, 0 or 1 for the first or second text; None: zeros.
            position_ids: [B, L] int64; None: 0 .. L-1.
            attention_mask: [B, L], true or 1 at real tokens; None: ``input_ids != pad_token_id``.
            inputs_embeds: [B, L, E] float instead of ids; without a mask all tokens are real.
            output_attentions: not supported.
            output_hidden_states: also return the embeddings' and every layer's output.
            first_token_only: compute the last layer only at the first token, for heads that read no
                other token; this saves most of one layer.

        Returns:
            [B, L, H] float, [B, 1, H] with ``first_token_only``; with ``output_hidden_states`` a
            pair of it and the list of ``num_hidden_layers + 1`` tensors [B, L, H]; with
            ``return_dict`` both by name: ``last_hidden_state``, ``hidden_states``.
        """
        refuse_attentions(output_attentions)
        if inputs_embeds is None:
            words, real = input_ids, input_ids != self.config.pad_token_id  # [B, L]
        else:
            words, real = inputs_embeds, paddle.ones_like(inputs_embeds[:, :, 0], "int64")
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(real, "int64")
        if attention_mask is None:
            attention_mask = real
        x = self.embeddings(words, token_type_ids, position_ids)
        if hasattr(self, "embeddings_project"):
            x = self.embeddings_project(x)
        shared, layers = self.shared(attention_mask, x.dtype), self.encoder.layers
        states = [x]  # of the embeddings and every layer; to_static does not trace list.append
        for layer in layers[:-1]:
            states = [*states, layer(states[-1], shared)]
        states = [*states, layers[-1](states[-1], shared, first_token_only)]
        hidden = states if output_hidden_states else None
        return result({"last_hidden_state": states[-1], "hidden_states": hidden}, return_dict)

    def shared(self, attention_mask, dtype) -> Shared:
        """Return what all layers need of an attention mask [B, L]."""
        mask = attention_mask.astype(dtype)  # [B, L]
        batch, length = (cpu_ops.axis_size(mask, axis) for axis in (0, 1))
        zeros = paddle.zeros([batch, self.config.num_heads, length, length], dtype)
        # A large negative number within the range of float16, whose exp() is 0 in every float type.
        bias = ((mask - 1.0) * 1e4).unsqueeze([1, 2])  # [B, 1, 1, L]
        keep = mask if self.config.mask_padding_in_conv else paddle.ones_like(mask)
        return Shared(bias, keep.unsqueeze(-1), zeros)


class ConvBertHeadModel(ConvBertPretrainedModel):
    """A body with a head; a subclass computes the head from the body's output."""

    reads_first_token_only = False

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)

    def head(self, x: paddle.Tensor, words: paddle.Tensor) -> paddle.Tensor:
        """Logits of the body's output x; ``words``, ids or embeddings, only give a shape."""
        raise NotImplementedError

    def forward(
        self,
        input_ids,
        token_type_ids=None,
        position_ids=None,
        attention_mask=None,
        inputs_embeds=None,
        labels=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        """Return the logits, or more.

        Args:
            labels: int64, one for each row of C logits (-100 is ignored), or float for a
                regressor: the mean loss comes first in the result.
            return_dict: return ``loss``, ``logits`` and ``hidden_states`` by name.
            input_ids, token_type_ids, position_ids, attention_mask, inputs_embeds,
                output_attentions, output_hidden_states: as in `ConvBertModel.forward`.
        """
        refuse_attentions(output_attentions)
        inputs = (input_ids, token_type_ids, position_ids, attention_mask, inputs_embeds)
        x, hidden = self.encode(inputs, output_hidden_states)
        logits = self.head(x, input_ids if inputs_embeds is None else inputs_embeds)
        values = {"loss": class_loss(logits, labels), "logits": logits, "hidden_states": hidden}
        return result(values, return_dict)

    def encode(self, inputs: tuple, output_hidden_states: bool | None) -> tuple:
        """The body's output for the head, and all states or None."""
        if output_hidden_states:  # these include all positions of the last layer
            return self.convbert(*inputs, output_hidden_states=True)
        return self.convbert(*inputs, first_token_only=self.reads_first_token_only), None


def head_dropout(config: ConvBertConfig) -> nn.Dropout:
    """Dropout of a head: ``classifier_dropout``, or the body's if that is None."""
    dropout = config.classifier_dropout
    return cpu_ops.Dropout(config.hidden_dropout_prob if dropout is None else dropout)


class ConvBertClassificationHead(nn.Layer):
    """Dropout, dense, activation, dropout, projection on the first token, as in ELECTRA."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        self.dense = linear(config, config.hidden_size, config.hidden_size)
        self.dropout = head_dropout(config)
        self.out_proj = linear(config, config.hidden_size, config.num_classes)
        self.activation = getattr(F, config.hidden_act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map the encoder's output [B, L or 1, H] to logits [B, C]."""
        x = self.activation(self.dense(self.dropout(x[:, 0])))
        return self.out_proj(self.dropout(x))


class ConvBertForSequenceClassification(ConvBertHeadModel):
    """ConvBERT with a sentence classifier, or a regressor if ``num_classes`` is 1."""

    reads_first_token_only = True

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.classifier = ConvBertClassificationHead(config)

    def head(self, x, words) -> paddle.Tensor:
        """Logits [B, C]."""
        return self.classifier(x)
