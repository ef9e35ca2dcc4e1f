"""One step and one evaluation: what must not depend on how the batches are cut."""

import dataclasses

import numpy as np
import paddle
import pytest

from convbert.training.build import build_trainer
from convbert.training.settings import TrainConfig
from paddlenlp.utils.errors import UserError
from tests.helpers.training import tiny_flags, write_sst2

QUIET = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"), train=37, dev=21)


@pytest.fixture(name="trainer")
def _trainer(tiny_checkpoint, data, tmp_path):
    """Return ``trainer(**flags)``."""

    def make(**changes):
        flags = tiny_flags(tiny_checkpoint, data, tmp_path, **changes)
        return build_trainer(TrainConfig.parse(flags))

    return make


def run(trainer):
    """Train to the end; returns (losses by step, weights)."""
    losses = []
    for update in trainer.updates():
        trainer.step(update)
        losses.append(trainer.mean_loss())
    return losses, {name: p.numpy() for name, p in trainer.model.named_parameters()}


def test_accumulation_equals_a_large_batch(trainer):
    # 37 examples: the last large batch holds 5, two small ones of 4 and 1
    large = run(trainer(batch_size=8, max_steps=10, **QUIET))
    small = run(trainer(batch_size=4, gradient_accumulation_steps=2, max_steps=10, **QUIET))
    np.testing.assert_allclose(small[0], large[0], rtol=1e-5)
    for name, weight in large[1].items():
        np.testing.assert_allclose(small[1][name], weight, atol=2e-4, err_msg=name)


def test_updates_count_steps_epochs_and_batches(trainer):
    updates = list(trainer(batch_size=8, gradient_accumulation_steps=2, max_steps=7).updates())
    assert [update.step for update in updates] == [1, 2, 3, 4, 5, 6, 7]
    assert [update.epoch for update in updates] == [0, 0, 0, 1, 1, 1, 2]
    assert [update.batch for update in updates] == [1, 3, 4, 1, 3, 4, 1]
    assert [update.num_examples for update in updates] == [16, 16, 5, 16, 16, 5, 16]


def test_epochs_without_max_steps(trainer):
    assert trainer(max_steps=-1, num_train_epochs=2, batch_size=8).total_steps == 10


def test_grouped_batches_train_on_every_example(trainer):
    grouped = trainer(group_by_length=True, max_steps=-1, num_train_epochs=1)
    seen = [index for update in grouped.updates() for part in update.batches for index in part]
    assert sorted(seen) == list(range(37))


def test_evaluation_does_not_depend_on_the_batch_size(trainer):
    results, logits = [], []
    for batch_size in (1, 4, 64):
        one = trainer(batch_size=batch_size)
        results.append(one.evaluate()["dev"])
        logits.append(one.predict(one.dev[0]))
    assert results[0] == pytest.approx(results[2])
    assert results[1] == pytest.approx(results[2])
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)


def test_evaluation_is_without_dropout_and_keeps_the_order(trainer):
    one = trainer(hidden_dropout_prob=0.5)
    logits = one.predict(one.dev[0])
    np.testing.assert_array_equal(logits, one.predict(one.dev[0]))
    for index in (0, 7, 20):
        input_ids, token_type_ids, _ = one.dev[0].batch([index])
        alone = one.model(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids))
        np.testing.assert_allclose(alone.numpy()[0], logits[index], atol=1e-5)


def test_mean_loss_is_that_of_the_steps_since_the_last_call(trainer):
    singles, _ = run(trainer(max_steps=4, **QUIET))
    whole = trainer(max_steps=4, **QUIET)
    for update in whole.updates():
        whole.step(update)
    assert whole.mean_loss() == pytest.approx(np.mean(singles), rel=1e-6)


def test_dropout_flags_reach_the_model(trainer):
    config = trainer(hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.5).model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.5)


def test_size_flags_replace_the_named_size(trainer):
    sizes = {"num_hidden_layers": 3, "hidden_size": 32, "embedding_size": 8}
    config = trainer(num_attention_heads=8, intermediate_size=64, **sizes).model.config
    assert (config.num_hidden_layers, config.hidden_size, config.embedding_size) == (3, 32, 8)
    assert (config.num_attention_heads, config.intermediate_size) == (8, 64)


def test_published_size_from_scratch_takes_the_vocabulary_given(trainer, tiny_vocab):
    small = trainer(model_name_or_path="convbert-small", vocab_file=tiny_vocab, num_hidden_layers=1)
    config = small.model.config
    words = len(tiny_vocab.read_text().splitlines())
    assert (config.hidden_size, config.embedding_size, config.vocab_size) == (256, 128, words)


def test_the_padding_word_may_stand_anywhere(trainer, tiny_vocab, tmp_path):
    """Of a new model the vocabulary decides; a trained one must agree with it."""
    words = tiny_vocab.read_text().split()
    vocab = tmp_path / "padding_last.txt"
    vocab.write_text("\n".join([*words[1:], words[0]]) + "\n")
    sizes = {"model_name_or_path": "convbert-small", "num_hidden_layers": 1}
    train = trainer(vocab_file=vocab, **sizes)
    assert train.model.config.pad_token_id == len(words) - 1
    other = dataclasses.replace(train.model.config, pad_token_id=0)
    with pytest.raises(UserError, match=f"word {len(words) - 1} but the model's pad_token_id is 0"):
        train.train.processor.check_fits(other, "here")


def test_word_dropout_hides_words_and_nothing_else(trainer):
    one = trainer(word_dropout=0.5, batch_size=37, max_steps=2)
    tokenizer = one.train.processor.tokenizer
    first, second = one.updates()
    original, types, labels = one.train.batch(first.batches[0])
    changed, types_after, labels_after = one.training_batch(first, first.batches[0])
    special = np.isin(original, tokenizer.all_special_ids)
    hidden = changed != original
    assert (changed[hidden] == tokenizer.mask_token_id).all()
    assert not hidden[special].any()
    assert 0.35 < hidden[~special].mean() < 0.65
    assert (types_after == types).all()
    assert (labels_after == labels).all()
    again = one.training_batch(first, first.batches[0])[0]
    assert (again == changed).all()  # a function of the seed and the step
    assert (one.training_batch(second, first.batches[0])[0] != changed).any()
    assert (one.train.batch(first.batches[0])[0] == original).all()  # the data stay whole


def test_without_word_dropout_the_batch_is_the_data(trainer):
    one = trainer(max_steps=1)
    update = next(one.updates())
    assert (one.training_batch(update, [0, 1])[0] == one.train.batch([0, 1])[0]).all()


def test_average_of_the_weights(trainer):
    one = trainer(ema_decay=0.5, max_steps=4, **QUIET)
    expected = {name: p.numpy() for name, p in one.model.named_parameters()}
    for update in one.updates():
        one.step(update)
        decay = min(0.5, (1 + update.step) / (10 + update.step))
        for name, p in one.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.numpy()
    raw = {name: p.numpy() for name, p in one.model.named_parameters()}
    with one.weights_to_keep():
        for name, p in one.model.named_parameters():
            np.testing.assert_allclose(p.numpy(), expected[name], atol=1e-6, err_msg=name)
    for name, p in one.model.named_parameters():
        np.testing.assert_array_equal(p.numpy(), raw[name])
    word = "convbert.embeddings.word_embeddings.weight"
    assert np.abs(raw[word] - expected[word]).max() > 1e-4


def test_without_average_the_weights_themselves_are_kept(trainer):
    one = trainer(max_steps=1)
    raw = {name: p.numpy() for name, p in one.model.named_parameters()}
    with one.weights_to_keep():
        assert all((p.numpy() == raw[name]).all() for name, p in one.model.named_parameters())


def test_the_average_is_what_is_evaluated_and_saved(tiny_checkpoint, data, tmp_path, monkeypatch):
    import train
    from paddlenlp.transformers.checkpoint import read_weights

    monkeypatch.setattr(train, "exit_on_sigterm", lambda: None)
    saved = {}
    for name, decay in (("raw", 0), ("average", 0.9)):
        flags = tiny_flags(tiny_checkpoint, data, tmp_path / name, ema_decay=decay, **QUIET)
        assert train.main(flags) == 0
        saved[name] = read_weights(str(tmp_path / name / "best.pdparams/model_state.pdparams"))
    word = "convbert.embeddings.word_embeddings.weight"
    assert np.abs(saved["raw"][word] - saved["average"][word]).max() > 1e-4
