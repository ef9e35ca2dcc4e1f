"""Every head: a falling loss, export; replaced-token detection and its criterion."""

import dataclasses

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddlenlp import transformers
from paddlenlp.transformers import (
    ConvBertDiscriminator,
    ConvBertForTotalPretraining,
    ConvBertGenerator,
    ConvBertPretrainingCriterion,
)
from paddlenlp.transformers.convbert.pretraining import IGNORED, generator_config, sample_tokens
from tests.helpers.errors import raises_code

B, L, M = 4, 9, 3


def token_ids(config, *shape):
    """Random ids with two columns of padding at the end."""
    ids = np.random.RandomState(1).randint(1, config.vocab_size, shape).astype(np.int64)
    ids[..., -2:] = config.pad_token_id
    return paddle.to_tensor(ids)


def labels(last, *shape):
    """Random labels below ``last``."""
    return paddle.to_tensor(np.random.RandomState(2).randint(0, last, shape).astype(np.int64))


def cross_entropy(logits, target):
    """Mean cross entropy over all leading axes."""
    return F.cross_entropy(logits.reshape([-1, logits.shape[-1]]), target.flatten())


def binary(logits, target):
    """Mean binary cross entropy."""
    return F.binary_cross_entropy_with_logits(logits, target.astype("float32"))


# class -> (shape of the ids, loss of the outputs)
HEADS = {
    "ConvBertForSequenceClassification": (
        (B, L),
        lambda outputs, config: cross_entropy(outputs, labels(2, B)),
    ),
    "ConvBertForTokenClassification": (
        (B, L),
        lambda outputs, config: cross_entropy(outputs, labels(2, B, L)),
    ),
    "ConvBertForQuestionAnswering": (
        (B, L),
        lambda outputs, config: sum(cross_entropy(o, labels(L - 2, B)) for o in outputs),
    ),
    "ConvBertForMultipleChoice": (
        (B, M, L),
        lambda outputs, config: cross_entropy(outputs, labels(M, B)),
    ),
    "ConvBertGenerator": (
        (B, L),
        lambda outputs, config: cross_entropy(outputs, labels(config.vocab_size, B, L)),
    ),
    "ConvBertDiscriminator": (
        (B, L),
        lambda outputs, config: binary(outputs, labels(2, B, L)),
    ),
}


def build(name, config):
    """A random model of a class."""
    paddle.seed(4)
    return getattr(transformers, name)(config)


def as_tuple(outputs):
    """One output or several, as a tuple."""
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def descend(model, loss_of, steps=8, learning_rate=5e-3):
    """Train a few steps; return the first and last loss."""
    optimizer = paddle.optimizer.AdamW(learning_rate, parameters=model.parameters())
    losses = []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses[0], losses[-1]


@pytest.mark.parametrize("name", HEADS)
def test_a_few_steps_lower_the_loss(tiny_config, name):
    shape, loss_of = HEADS[name]
    model, ids = build(name, tiny_config), token_ids(tiny_config, *shape)
    model.eval()  # no dropout: the loss falls every time, not on average
    before = [p.numpy().copy() for p in model.parameters()]
    first, last = descend(model, lambda: loss_of(model(ids), tiny_config))
    assert last < 0.8 * first
    untrained = [a for a, p in zip(before, model.parameters()) if np.array_equal(a, p.numpy())]
    assert not untrained  # every parameter has a gradient


@pytest.mark.parametrize("name", HEADS)
def test_export_is_right_at_other_shapes(tiny_config, name, tmp_path):
    shape, _ = HEADS[name]
    model = build(name, tiny_config)
    model.eval()
    spec = [paddle.static.InputSpec([None] * len(shape), "int64", "input_ids")]
    program = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    paddle.jit.save(program, str(tmp_path / "head"))
    loaded = paddle.jit.load(str(tmp_path / "head"))
    model = build(name, tiny_config)
    model.eval()
    for batch, length in ((1, 3), (2, 9), (5, 17)):
        ids = token_ids(tiny_config, batch, *shape[1:-1], length)
        for ours, exported in zip(as_tuple(model(ids)), as_tuple(loaded(ids))):
            np.testing.assert_allclose(exported.numpy(), ours.numpy(), atol=1e-5)


def test_single_sentence_keeps_its_batch_axis(tiny_config):
    """Upstream squeezes the logits of a batch of one to [L]."""
    model = build("ConvBertDiscriminator", tiny_config)
    assert model(token_ids(tiny_config, 1, L)).shape == [1, L]


@pytest.fixture
def pretraining(tiny_config):
    """Generator and discriminator together."""
    paddle.seed(6)
    generator = ConvBertGenerator(generator_config(tiny_config, 2))
    return ConvBertForTotalPretraining(generator, ConvBertDiscriminator(tiny_config))


def masked_batch(config):
    """Masked ids, original ids, generator labels; a third of the real tokens is masked."""
    raw = token_ids(config, B, L)
    chosen = paddle.to_tensor(np.random.RandomState(3).rand(B, L) < 0.33)
    chosen = chosen & (raw != config.pad_token_id)
    masked = paddle.where(chosen, paddle.full_like(raw, 4), raw)
    gen_labels = paddle.where(chosen, raw, paddle.full_like(raw, IGNORED))
    return masked, raw, gen_labels


def test_pretraining_labels_are_the_replacements(pretraining, tiny_config):
    masked, raw, gen_labels = masked_batch(tiny_config)
    seen = {}
    pretraining.discriminator.register_forward_pre_hook(lambda _, args: seen.update(ids=args[0]))
    gen_logits, disc_logits, disc_labels, mask = pretraining(
        masked, raw_input_ids=raw, gen_labels=gen_labels
    )
    assert gen_logits.shape == [B, L, tiny_config.vocab_size]
    assert disc_logits.shape == disc_labels.shape == mask.shape == [B, L]
    replaced = seen["ids"].numpy()
    chosen = gen_labels.numpy() != IGNORED
    np.testing.assert_array_equal(replaced[~chosen], raw.numpy()[~chosen])
    np.testing.assert_array_equal(disc_labels.numpy(), chosen & (replaced != raw.numpy()))
    np.testing.assert_array_equal(mask.numpy(), raw.numpy() != tiny_config.pad_token_id)
    assert disc_labels.numpy().sum() > 0


def test_a_sample_that_is_the_original_word_is_no_replacement(pretraining, tiny_config):
    masked, raw, gen_labels = masked_batch(tiny_config)
    chosen = gen_labels.numpy() != IGNORED
    word = int(raw.numpy()[chosen][0])
    certain = np.zeros(tiny_config.vocab_size, np.float32)
    certain[word] = 1e4  # the generator always says this word
    pretraining.generator.generator_lm_head_bias.set_value(certain)
    disc_labels = pretraining(masked, None, None, None, raw, gen_labels)[2].numpy()
    np.testing.assert_array_equal(disc_labels, chosen & (raw.numpy() != word))


def test_word_embeddings_are_shared(pretraining):
    words = pretraining.discriminator.convbert.embeddings.word_embeddings.weight
    assert pretraining.generator.convbert.embeddings.word_embeddings.weight is words
    names = [name for name, _ in pretraining.named_parameters()]
    assert len([name for name in names if name.endswith("word_embeddings.weight")]) == 1
    state = pretraining.state_dict()  # both names are saved, as upstream does
    for part in ("generator", "discriminator"):
        assert f"{part}.convbert.embeddings.word_embeddings.weight" in state


def test_generator_and_discriminator_must_share_a_vocabulary(tiny_config):
    other = dataclasses.replace(tiny_config, vocab_size=7)
    with pytest.raises(ValueError, match=r"\[7, "):
        ConvBertForTotalPretraining(ConvBertGenerator(other), ConvBertDiscriminator(tiny_config))


def numpy_criterion(gen_logits, disc_logits, gen_labels, disc_labels, mask):
    """Generator loss + 50 x discriminator loss, written out."""
    rows = [
        (gen_logits[b, i], gen_labels[b, i])
        for b, i in np.ndindex(gen_labels.shape)
        if gen_labels[b, i] != IGNORED
    ]
    generator = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in rows])
    prob = 1 / (1 + np.exp(-disc_logits))
    binary_losses = -np.log(np.where(disc_labels == 1, prob, 1 - prob))
    return generator + 50 * binary_losses[mask].mean()


def test_criterion_equals_its_formula():
    random = np.random.RandomState(0)
    vocab = 11
    gen_logits = random.randn(B, L, vocab).astype(np.float32)
    disc_logits = random.randn(B, L).astype(np.float32)
    gen_labels = np.where(random.rand(B, L) < 0.4, random.randint(0, vocab, (B, L)), IGNORED)
    disc_labels = random.randint(0, 2, (B, L))
    mask = random.rand(B, L) < 0.7
    arrays = (gen_logits, disc_logits, gen_labels, disc_labels, mask)
    found = ConvBertPretrainingCriterion(vocab)(*[paddle.to_tensor(array) for array in arrays])
    assert float(found) == pytest.approx(numpy_criterion(*arrays), rel=1e-6)
    no_mask = (*arrays[:4], np.ones_like(mask))
    found = ConvBertPretrainingCriterion(vocab)(*[paddle.to_tensor(a) for a in arrays[:4]])
    assert float(found) == pytest.approx(numpy_criterion(*no_mask), rel=1e-6)


def test_generator_loss_without_masked_positions_is_zero():
    criterion = ConvBertPretrainingCriterion(5)
    nothing = paddle.full([2, 3], IGNORED, dtype="int64")
    assert float(criterion.generator_loss(paddle.randn([2, 3, 5]), nothing)) == 0.0


def test_samples_follow_the_softmax():
    paddle.seed(0)
    probs = np.array([0.5, 0.3, 0.2, 0.0])
    logits = paddle.to_tensor(np.log(probs + 1e-30).astype(np.float32)).expand([20000, 4])
    counts = np.bincount(sample_tokens(logits).numpy(), minlength=4) / 20000
    np.testing.assert_allclose(counts, probs, atol=0.02)


def test_generator_sizes_follow_upstream():
    shares = {"convbert-base": 3, "convbert-medium-small": 4, "convbert-small": 4}
    # hidden, intermediate, attention heads; convbert-small has one head upstream, see the docs
    expected = {
        "convbert-base": (256, 1024, 4),
        "convbert-medium-small": (96, 384, 2),
        "convbert-small": (64, 256, 2),
    }
    for name, sizes in expected.items():
        preset = transformers.ConvBertConfig.preset(name)
        config = generator_config(preset, shares[name])
        found = (config.hidden_size, config.intermediate_size, config.num_attention_heads)
        assert found == sizes
        assert config.embedding_size == preset.embedding_size
    with raises_code("configuration"):
        generator_config(transformers.ConvBertConfig.preset("convbert-small"), 5)
