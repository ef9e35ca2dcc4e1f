"""ConvBERT (Jiang et al. 2020, arXiv 2008.02496): embeddings, encoder and the sentence classifier.

Parameter names are those of upstream's checkpoints. Shapes: B batch, L length, E embedding,
H hidden, C classes. Token ids are int64, everything else is the default float type.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddlenlp.transformers.convbert import cpu_ops, weight_names
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.layers import (
    GroupedLinear,
    MixedAttention,
    PaddingMask,
    layer_norm,
    linear,
    normal_attr,
)
from paddlenlp.transformers.model_utils import PretrainedModel


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

    def forward(self, input_ids, token_type_ids, position_ids=None) -> paddle.Tensor:
        """Map ids [B, L] int64 to [B, L, E]; ``position_ids`` [B, L] or None for 0 .. L-1."""
        if position_ids is None:
            # arange, not cumsum: oneDNN's cumsum gives a wrong index in 2.6.
            position_ids = paddle.arange(cpu_ops.axis_size(input_ids, 1), dtype="int64")
        total = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
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

    def forward(self, x, mask: PaddingMask, first_token_only: bool = False) -> paddle.Tensor:
        """Map x [B, L, H] to [B, L, H], or to [B, 1, H] for the first token."""
        mixed = self.self_attn(x, mask, first_token_only)
        x = x[:, :1] if first_token_only else x
        x = self.norm1(x + self.dropout(mixed))
        inner = self.activation(self.linear1(x))  # [B, L, intermediate]
        return self.norm2(x + self.dropout(self.linear2(inner)))


class ConvBertEncoder(nn.Layer):
    """The stack of encoder layers."""

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        self.layers = nn.LayerList([ConvBertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x, mask: PaddingMask, first_token_only: bool = False) -> list:
        """Map x [B, L, H] to the list of x and every layer's output, each [B, L, H].

        With ``first_token_only`` the last one is [B, 1, H].
        """
        states = [x]  # to_static does not trace list.append
        for layer in self.layers[:-1]:
            states = [*states, layer(states[-1], mask)]
        return [*states, self.layers[-1](states[-1], mask, first_token_only)]


class ConvBertPretrainedModel(PretrainedModel):
    """What all ConvBERT models share: the configuration, the body's name, the tensor names."""

    config_class = ConvBertConfig
    base_model_prefix = "convbert"

    @classmethod
    def is_hf(cls, weights, source: str) -> bool:
        """Whether the tensors have transformers' names."""
        return weight_names.is_hf(weights, source)

    @classmethod
    def from_hf(cls, weights, config, hf_config) -> dict:
        """Rename and reshape the tensors of a transformers checkpoint."""
        return weight_names.to_paddle(weights, config, cls.__name__, hf_config)


class ConvBertModel(ConvBertPretrainedModel):
    """The body: ids to one vector per token."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.embeddings = ConvBertEmbeddings(config)
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = linear(config, config.embedding_size, config.hidden_size)
        self.encoder = ConvBertEncoder(config)

    def forward(
        self,
        input_ids,
        token_type_ids=None,
        position_ids=None,
        attention_mask=None,
        output_hidden_states=False,
        first_token_only=False,
    ):
        """Encode token ids.

        Args:
            input_ids: [B, L] int64, ``L <= max_position_embeddings``.
            token_type_ids: [B, L] int64, 0 or 1 for the first or second text; None: zeros.
            position_ids: [B, L] int64; None: 0 .. L-1.
            attention_mask: [B, L], true or 1 at real tokens; None: ``input_ids != pad_token_id``.
            output_hidden_states: also return the embeddings' and every layer's output.
            first_token_only: compute the last layer at the first token only, for heads that read
                no other: one layer's work less.

        Returns:
            [B, L, H] float, [B, 1, H] with ``first_token_only``; with ``output_hidden_states`` a
            pair of it and the list of ``num_hidden_layers + 1`` tensors [B, L, H].
        """
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        if hasattr(self, "embeddings_project"):
            x = self.embeddings_project(x)
        states = self.encoder(x, self._padding_mask(attention_mask, x.dtype), first_token_only)
        return (states[-1], states) if output_hidden_states else states[-1]

    def _padding_mask(self, attention_mask, dtype) -> PaddingMask:
        mask = attention_mask.astype(dtype)  # [B, L]
        # A large negative number that float16 can hold: exp() of it is 0 in every float type.
        bias = ((mask - 1.0) * 1e4).unsqueeze([1, 2])  # [B, 1, 1, L]
        keep = mask if self.config.mask_padding_in_conv else paddle.ones_like(mask)
        return PaddingMask(bias, keep.unsqueeze(-1))


def head_dropout(config: ConvBertConfig) -> nn.Dropout:
    """Dropout of a head: ``classifier_dropout``, or the body's where that is None."""
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


class ConvBertForSequenceClassification(ConvBertPretrainedModel):
    """ConvBERT with a sentence classifier, or a regressor when ``num_classes`` is 1."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)
        self.classifier = ConvBertClassificationHead(config)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, attention_mask=None):
        """Return logits [B, C]; arguments as in `ConvBertModel.forward`."""
        x = self.convbert(
            input_ids, token_type_ids, position_ids, attention_mask, first_token_only=True
        )
        return self.classifier(x)
