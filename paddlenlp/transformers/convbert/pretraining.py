"""Replaced-token detection, the pretraining of ConvBERT (ELECTRA, arXiv 2003.10555).

A small generator fills masked positions with samples; the discriminator predicts for every token
whether it was replaced. Shapes: B batch, L length, E embedding, H hidden, V vocabulary.
"""

import dataclasses

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.transformers.convbert.layers import layer_norm, linear
from paddlenlp.transformers.convbert.modeling import ConvBertHeadModel, ConvBertModel
from paddlenlp.transformers.convbert.pretrained import ConvBertPretrainedModel

IGNORED = -100  # generator label of a position that is not masked


def generator_config(config: ConvBertConfig, share: int = 4) -> ConvBertConfig:
    """Return the configuration of a generator ``share`` times narrower than the discriminator.

    Upstream's generators have share 3 for convbert-base and 4 for the two smaller sizes. (Its
    generator of convbert-small has a single head and so no convolution; here it has two.)

    Raises:
        UserError: the sizes cannot be divided by ``share``.
    """
    return dataclasses.replace(
        config,
        hidden_size=config.hidden_size // share,
        intermediate_size=config.intermediate_size // share,
        num_attention_heads=max(2, config.num_attention_heads // share),
    )


class ConvBertGenerator(ConvBertHeadModel):
    """ConvBERT as a masked language model; its output words are its input embeddings."""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.generator_predictions = nn.LayerDict(
            {
                "dense": linear(config, config.hidden_size, config.embedding_size),
                "layer_norm": layer_norm(config, config.embedding_size),
            }
        )
        self.generator_lm_head_bias = self.create_parameter([config.vocab_size], is_bias=True)
        self.activation = getattr(F, config.hidden_act)

    def head(self, x, words) -> paddle.Tensor:
        """Logits over the vocabulary [B, L, V]."""
        layers, table = self.generator_predictions, self.convbert.embeddings.word_embeddings
        x = layers.layer_norm(self.activation(layers.dense(x)))  # [B, L, E]
        return paddle.matmul(x, table.weight, transpose_y=True) + self.generator_lm_head_bias


ConvBertForMaskedLM = ConvBertGenerator  # the name in PaddleNLP 2.8 and transformers


class ConvBertDiscriminator(ConvBertPretrainedModel):
    """ConvBERT with one logit per token: was it replaced?"""

    def __init__(self, config: ConvBertConfig):
        super().__init__(config)
        self.convbert = ConvBertModel(config)
        self.discriminator_predictions = nn.LayerDict(
            {
                "dense": linear(config, config.hidden_size, config.hidden_size),
                "dense_prediction": linear(config, config.hidden_size, 1),
            }
        )
        self.activation = getattr(F, config.hidden_act)

    def forward(self, input_ids, token_type_ids=None, position_ids=None, attention_mask=None):
        """Return logits [B, L], positive for replaced; arguments as in `ConvBertModel.forward`."""
        x = self.convbert(input_ids, token_type_ids, position_ids, attention_mask)
        layers = self.discriminator_predictions
        x = self.activation(layers.dense(x))  # [B, L, H]
        return layers.dense_prediction(x).squeeze(-1)


def sample_tokens(logits: paddle.Tensor) -> paddle.Tensor:
    """Draw tokens [...] int64 from softmax(logits) [..., V] by the Gumbel-max trick."""
    uniform = paddle.rand(logits.shape).clip(1e-9, 1.0 - 1e-7)
    return paddle.argmax(logits.detach() - paddle.log(-paddle.log(uniform)), axis=-1)


class ConvBertForTotalPretraining(nn.Layer):
    """Generator and discriminator, sharing the word embeddings, for replaced-token detection.

    Args:
        generator, discriminator: models with equal ``vocab_size`` and ``embedding_size``. The
            generator uses the discriminator's word embeddings (ELECTRA, section 3.2).
    """

    def __init__(self, generator: ConvBertGenerator, discriminator: ConvBertDiscriminator):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        shared = discriminator.convbert.embeddings.word_embeddings
        own = generator.convbert.embeddings.word_embeddings
        if own.weight.shape != shared.weight.shape:
            shapes = f"{own.weight.shape} and {shared.weight.shape}"
            raise ValueError(f"word embeddings of {shapes} cannot be shared")
        generator.convbert.embeddings.word_embeddings = shared

    def forward(
        self,
        input_ids,
        token_type_ids=None,
        position_ids=None,
        attention_mask=None,
        raw_input_ids=None,
        gen_labels=None,
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Run both models.

        Args:
            input_ids: [B, L] int64 with masked positions.
            token_type_ids, position_ids, attention_mask: as in `ConvBertModel.forward`.
            raw_input_ids: [B, L] int64, the original tokens.
            gen_labels: [B, L] int64, the original token at masked positions, -100 elsewhere.

        Returns:
            Generator logits [B, L, V] and discriminator logits [B, L], float; discriminator
            labels [B, L] int64, 1 if the sampled token differs from the original; attention
            mask [B, L] bool.
        """
        gen_logits = self.generator(input_ids, token_type_ids, position_ids, attention_mask)
        masked = gen_labels != IGNORED
        disc_inputs = paddle.where(masked, sample_tokens(gen_logits), input_ids)
        disc_labels = (masked & (disc_inputs != raw_input_ids)).astype("int64")
        if attention_mask is None:
            attention_mask = input_ids != self.discriminator.config.pad_token_id
        disc_logits = self.discriminator(disc_inputs, token_type_ids, position_ids, attention_mask)
        return gen_logits, disc_logits, disc_labels, attention_mask.astype("bool")


ConvBertForPretraining = ConvBertForTotalPretraining  # upstream's second name


class ConvBertPretrainingCriterion(nn.Layer):
    """The loss of both models: ``gen_weight`` x cross entropy + ``disc_weight`` x binary one.

    The weights are ELECTRA's (section 3.1); the generator's loss is the mean over masked
    positions, the discriminator's the mean over real ones.
    """

    def __init__(self, vocab_size: int, gen_weight: float = 1.0, disc_weight: float = 50.0):
        super().__init__()
        self.vocab_size = vocab_size
        self.gen_weight = gen_weight
        self.disc_weight = disc_weight

    def forward(
        self,
        generator_prediction_scores,
        discriminator_prediction_scores,
        generator_labels,
        discriminator_labels,
        attention_mask=None,
    ) -> paddle.Tensor:
        """Return the weighted sum, a scalar.

        Args:
            generator_prediction_scores: [B, L, V] float.
            discriminator_prediction_scores: [B, L] float.
            generator_labels: [B, L] int64, -100 where not masked.
            discriminator_labels: [B, L] int64, 0 or 1.
            attention_mask: [B, L], true at real tokens; None: all are real.
        """
        generator = self.generator_loss(generator_prediction_scores, generator_labels)
        discriminator = self.discriminator_loss(
            discriminator_prediction_scores, discriminator_labels, attention_mask
        )
        return self.gen_weight * generator + self.disc_weight * discriminator

    def generator_loss(self, scores, labels) -> paddle.Tensor:
        """Mean cross entropy over masked positions; 0 if none is masked."""
        scores, labels = scores.reshape([-1, self.vocab_size]), labels.flatten()
        total = F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).astype(total.dtype).sum().clip(min=1.0)

    def discriminator_loss(self, scores, labels, attention_mask=None) -> paddle.Tensor:
        """Mean binary cross entropy over real tokens."""
        labels = labels.astype(scores.dtype)
        losses = F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
        if attention_mask is None:
            return losses.mean()
        mask = attention_mask.astype(losses.dtype)
        return (losses * mask).sum() / mask.sum()
