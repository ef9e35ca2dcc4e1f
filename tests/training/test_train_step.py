"""One step and one evaluation: what must not depend on how the batches are cut."""

import dataclasses

import numpy as np
import paddle
import pytest

from convbert.training.settings import train_settings
from convbert.training.teacher import write_teacher_logits
from tests.helpers.errors import raises_code
from tests.helpers.training import read_log, tiny_flags, with_padding_last, write_sst2
from train import build, evaluate, main, predict, train_step

QUIET = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"), train=37, dev=21)


@pytest.fixture(name="new_run")
def _new_run(tiny_checkpoint, data, tmp_path):
    """Return ``new_run(**flags)``: everything a run consists of."""

    def make(**changes):
        flags = tiny_flags(tiny_checkpoint, data, tmp_path, **changes)
        return build(train_settings(flags))

    return make


def updates(run):
    """All steps of a run."""
    return run.sampler.updates(0, run.total_steps)


def finish(run):
    """Train to the end; returns (losses by step, weights)."""
    losses = [float(train_step(run, update)) for update in updates(run)]
    return losses, {name: p.numpy() for name, p in run.model.named_parameters()}


def test_the_seed_decides(new_run):
    first = finish(new_run())[0]
    assert finish(new_run())[0] == first
    assert finish(new_run(seed=1))[0] != first


def test_accumulation_equals_a_large_batch(new_run):
    # 37 examples: the last large batch holds 5, two small ones of 4 and 1
    large = finish(new_run(batch_size=8, max_steps=10, **QUIET))
    small = finish(new_run(batch_size=4, gradient_accumulation_steps=2, max_steps=10, **QUIET))
    np.testing.assert_allclose(small[0], large[0], rtol=1e-5)
    for name, weight in large[1].items():
        np.testing.assert_allclose(small[1][name], weight, atol=2e-4, err_msg=name)


def test_updates_count_steps_epochs_and_batches(new_run):
    steps = list(updates(new_run(batch_size=8, gradient_accumulation_steps=2, max_steps=7)))
    assert [update.step for update in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [update.epoch for update in steps] == [0, 0, 0, 1, 1, 1, 2]
    assert [update.batch for update in steps] == [1, 3, 4, 1, 3, 4, 1]
    assert [update.num_examples for update in steps] == [16, 16, 5, 16, 16, 5, 16]


@pytest.fixture(name="teacher_file")
def _teacher_file(data, tmp_path):
    """A teacher that is sure of the wrong answer to every training text."""
    rows = [line.split("\t") for line in (data / "train.tsv").read_text().splitlines()[1:]]
    logits = np.array([[9.0, -9.0] if label == "1" else [-9.0, 9.0] for _, label in rows])
    write_teacher_logits(tmp_path / "logits.npz", [text for text, _ in rows], logits, {})
    return tmp_path / "logits.npz"


def test_each_text_follows_its_own_teacher(new_run, teacher_file):
    flags = {"teacher_logits": teacher_file, "teacher_weight": 1, "temperature": 1, **QUIET}
    run = new_run(max_steps=40, **flags)
    finish(run)
    assert evaluate(run)[0]["dev"]["acc"] == 0


def test_the_loss_is_weighed_between_labels_and_teacher(new_run, teacher_file):
    quiet = {"max_steps": 1, **QUIET}
    (alone,), _ = finish(new_run(**quiet))
    labels, mixed, teacher = (
        finish(new_run(teacher_logits=teacher_file, teacher_weight=weight, **quiet))[0][0]
        for weight in (0, 0.25, 1)
    )
    assert labels == alone < teacher
    assert mixed == pytest.approx(0.75 * labels + 0.25 * teacher)


def test_a_teacher_of_other_classes_is_refused(new_run, data, tmp_path):
    texts = [line.split("\t")[0] for line in (data / "train.tsv").read_text().splitlines()[1:]]
    write_teacher_logits(tmp_path / "three.npz", texts, np.zeros([len(texts), 3]), {})
    with raises_code("data-set", "3 classes"):
        new_run(teacher_logits=tmp_path / "three.npz")


def test_max_steps_win_over_epochs(new_run):
    assert new_run(max_steps=-1, num_train_epochs=2, batch_size=8).total_steps == 10
    assert new_run(max_steps=7, num_train_epochs=2, batch_size=8).total_steps == 7


def test_amp_has_no_effect_on_a_cpu(new_run, caplog, capfd):
    plain, amp = new_run(), new_run(use_amp=True)
    assert (capfd.readouterr().err + caplog.text).count("--use_amp") == 1
    assert finish(plain)[0] == finish(amp)[0]


def test_grouped_batches_train_on_every_example(new_run):
    grouped = new_run(group_by_length=True, max_steps=-1, num_train_epochs=1)
    seen = [index for update in updates(grouped) for part in update.batches for index in part]
    assert sorted(seen) == list(range(37))


def test_evaluation_does_not_depend_on_the_batch_size(new_run):
    results, logits = [], []
    for batch_size in (1, 4, 64):
        one = new_run(batch_size=batch_size)
        results.append(evaluate(one)[0]["dev"])
        logits.append(predict(one, one.dev[0]))
    assert results[0] == pytest.approx(results[2])
    assert results[1] == pytest.approx(results[2])
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)


def test_evaluation_is_without_dropout_and_keeps_the_order(new_run):
    one = new_run(hidden_dropout_prob=0.5)
    logits = predict(one, one.dev[0])
    np.testing.assert_array_equal(logits, predict(one, one.dev[0]))
    for index in (0, 7, 20):
        input_ids, token_type_ids, _ = one.dev[0].batch([index])
        alone = one.model(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids))
        np.testing.assert_allclose(alone.numpy()[0], logits[index], atol=1e-5)


def test_the_printed_loss_is_the_mean_of_the_steps(new_run, tiny_checkpoint, data, tmp_path):
    losses, _ = finish(new_run(max_steps=4, **QUIET))
    main(tiny_flags(tiny_checkpoint, data, tmp_path, max_steps=4, logging_steps=4, **QUIET))
    (record,) = read_log(tmp_path, "train")
    assert record["loss"] == pytest.approx(np.mean(losses))


def test_dropout_depends_on_seed_and_step_alone(new_run):
    run = new_run(max_steps=3, learning_rate=0)
    first, second, _ = updates(run)
    losses = [float(train_step(run, update)) for update in (first, second, first)]
    assert losses[0] == losses[2] != losses[1]


def test_flags_replace_what_the_named_size_says(new_run, tiny_vocab):
    fields = {"num_hidden_layers": 1, "num_attention_heads": 8, "intermediate_size": 64}
    fields |= {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.5}
    small = new_run(model_name_or_path="convbert-small", vocab_file=tiny_vocab, **fields)
    words = len(tiny_vocab.read_text().splitlines())
    fields |= {"hidden_size": 256, "embedding_size": 128, "vocab_size": words}
    found = vars(small.model.config)
    assert {name: found[name] for name in fields} == fields
    config = new_run(hidden_size=32, embedding_size=8).model.config
    assert (config.hidden_size, config.embedding_size) == (32, 8)


def test_the_padding_word_may_stand_anywhere(new_run, tiny_vocab, tmp_path):
    """Of a new model the vocabulary decides; a trained one must agree with it."""
    vocab = with_padding_last(tiny_vocab, tmp_path / "vocab.txt")
    sizes = {"model_name_or_path": "convbert-small", "num_hidden_layers": 1}
    run = new_run(vocab_file=vocab, **sizes)
    assert run.model.config.pad_token_id == run.model.config.vocab_size - 1
    other = dataclasses.replace(run.model.config, pad_token_id=0)
    with raises_code("vocabulary"):
        run.train.processor.check_fits(other, "here")
