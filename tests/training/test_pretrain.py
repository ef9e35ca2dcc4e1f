"""Pretraining: masks, a resumed run equals an unbroken one, what is left behind, user mistakes."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import paddle
import pytest

import pretrain
from convbert.command.start import exit_on_sigterm
from convbert.training.settings import pretrain_settings
from convbert.training.state import OPTIMIZER_FILE, optimizer_arrays
from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer
from paddlenlp.transformers.convbert.pretraining import IGNORED
from paddlenlp.utils.products import MANIFEST_FILE
from tests.helpers.errors import assert_refused, raises_code
from tests.helpers.training import PRETRAINED, with_padding_last

TINY = {**PRETRAINED, "max_steps": 6}
FLAGS = [part for name, value in TINY.items() for part in (f"--{name}", value)]


@pytest.fixture
def corpus(tmp_path, tiny_vocab):
    """Twenty sentences out of the tiny vocabulary, and blank lines between."""
    words = ["movie", "film", "script", "a", "the", "it", "is", "was", "good", "bad", "dull"]
    random = np.random.RandomState(0)
    lines = [" ".join(random.choice(words, size)) for size in random.randint(1, 12, 20)]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return {"input_file": str(path), "vocab_file": str(tiny_vocab)}


def read_settings(corpus, **settings):
    """The settings of a tiny run."""
    values = {**TINY, **corpus, **settings}
    return pretrain_settings([str(word) for k, v in values.items() for word in (f"--{k}", v)])


def new_run(corpus, output_dir, **settings):
    """A tiny run."""
    return pretrain.build(read_settings(corpus, output_dir=output_dir, **settings))


def save(run):
    """Write the state of a run; its directory."""
    directory = Path(run.config.output_dir) / "last"
    run.state.write(directory, {"step": run.step})
    return directory


def resume(run):
    """Continue from what `save` wrote."""
    run.step = run.state.read(Path(run.config.output_dir) / "last")["step"]


def train(run, stop=None):
    """Train to ``stop`` or the end; the losses of each step."""
    losses = []
    for update in run.sampler.updates(run.step, run.config.max_steps):
        losses.append(pretrain.train_step(run, update))
        if run.step == stop:
            break
    return losses


def weights_of(run):
    """All weights by name."""
    return {name: tensor.numpy() for name, tensor in run.model.state_dict().items()}


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_resumed_run_equals_an_unbroken_one(corpus, tmp_path, stop):
    """Twenty sentences in batches of 8: three batches an epoch, so 3 is the end of one."""
    whole = new_run(corpus, tmp_path / "whole")
    expected = train(whole)
    broken = new_run(corpus, tmp_path / "broken")
    losses = train(broken, stop)
    save(broken)
    resumed = new_run(corpus, tmp_path / "broken", resume=True)
    resume(resumed)
    assert resumed.step == stop
    losses += train(resumed)
    assert losses == expected
    for name, array in weights_of(whole).items():
        np.testing.assert_array_equal(weights_of(resumed)[name], array, err_msg=name)
    whole_moments = optimizer_arrays(whole.optimizer, whole.model)
    moments = optimizer_arrays(resumed.optimizer, resumed.model)
    assert set(moments) == set(whole_moments)
    for name, array in whole_moments.items():
        np.testing.assert_array_equal(moments[name], array, err_msg=name)


def test_the_seed_decides(corpus, tmp_path):
    first = train(new_run(corpus, tmp_path), 2)
    assert train(new_run(corpus, tmp_path), 2) == first
    assert train(new_run(corpus, tmp_path, seed=43), 2) != first


def test_every_step_hides_other_words(corpus, tmp_path, monkeypatch):
    seen, original = [], pretrain.mask_tokens

    def recorded(*args):
        seen.append(original(*args))
        return seen[-1]

    monkeypatch.setattr(pretrain, "mask_tokens", recorded)
    trainer = new_run(corpus, tmp_path)
    (update,) = trainer.sampler.updates(0, 1)
    for _ in range(2):
        pretrain.train_step(trainer, update)
    assert not np.array_equal(*(labels for _, labels in seen))


def test_the_loss_of_the_discriminator_is_weighted(corpus, tmp_path):
    gradients = []
    for weight in (50.0, 25.0):
        trainer = new_run(corpus, tmp_path)
        trainer.criterion.disc_weight = weight
        trainer.optimizer.clear_grad = lambda: None  # so that they can be read
        train(trainer, 1)
        last = trainer.model.discriminator.discriminator_predictions.dense_prediction.weight
        gradients.append(last.grad.numpy())
    np.testing.assert_allclose(gradients[0], 2 * gradients[1], rtol=1e-5)


@pytest.mark.parametrize(("norm", "moves"), [(0.0, True), (1e-12, False)])
def test_the_gradient_is_clipped(corpus, tmp_path, norm, moves):
    settings = {"max_grad_norm": norm, "weight_decay": 0.0, "warmup_proportion": 0.0}
    trainer = new_run(corpus, tmp_path, learning_rate=0.01, **settings)
    before = weights_of(trainer)
    train(trainer, 1)
    largest = max(np.abs(array - before[name]).max() for name, array in weights_of(trainer).items())
    assert (largest > 5e-3) == moves
    assert moves or largest < 1e-5


def test_both_losses_fall(corpus, tmp_path):
    settings = {"max_steps": 30, "learning_rate": 5e-3, "warmup_proportion": 0.0}
    losses = np.array(train(new_run(corpus, tmp_path, **settings)))
    assert (losses[-6:].mean(axis=0) < 0.9 * losses[:6].mean(axis=0)).all(), losses


def test_the_discriminator_starts_fine_tuning(corpus, tmp_path):
    trainer = new_run(corpus, tmp_path)
    train(trainer, 1)
    directory = save(trainer) / "discriminator"
    model = ConvBertForSequenceClassification.from_pretrained(str(directory))
    words = model.convbert.embeddings.word_embeddings.weight.numpy()
    trained = trainer.model.discriminator.convbert.embeddings.word_embeddings.weight.numpy()
    np.testing.assert_array_equal(words, trained)
    assert ConvBertTokenizer.from_pretrained(directory).vocab_size == len(words)


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab):
    """The tokenizer of the tiny vocabulary."""
    return ConvBertTokenizer(str(tiny_vocab))


def test_the_padding_word_may_stand_anywhere(corpus, tmp_path):
    vocab = with_padding_last(Path(corpus["vocab_file"]), tmp_path / "vocab.txt")
    config = new_run({**corpus, "vocab_file": vocab}, tmp_path).model.discriminator.config
    assert config.pad_token_id == config.vocab_size - 1


def test_masks(tokenizer):
    random = np.random.default_rng(0)
    ids = random.integers(5, tokenizer.vocab_size, (400, 42))
    ids[:, 0], ids[:, 31] = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids[:, 32:] = tokenizer.pad_token_id
    masked, labels = pretrain.mask_tokens(ids, tokenizer, 0.15, random)
    chosen = labels != IGNORED
    assert (chosen.sum(axis=1) == round(0.15 * 30)).all()
    assert not chosen[:, [0, *range(31, 42)]].any()
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    np.testing.assert_array_equal(masked[~chosen], ids[~chosen])
    hidden = masked[chosen] == tokenizer.mask_token_id
    np.testing.assert_array_equal(masked[chosen][~hidden], ids[chosen][~hidden])
    assert abs(hidden.mean() - 0.85) < 0.03
    assert chosen[:, 1:31].mean(axis=0).min() > 0.05  # every position gets its turn


def test_a_short_row_has_one_mask_and_an_empty_one_none(tokenizer):
    cls, sep, pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    rows = np.array([[cls, 9, sep, pad], [cls, sep, pad, pad]])
    _, labels = pretrain.mask_tokens(rows, tokenizer, 0.15, np.random.default_rng(0))
    assert labels.tolist() == [[IGNORED, 9, IGNORED, IGNORED], [IGNORED] * 4]


def test_long_lines_are_cut_and_nothing_is_lost(corpus, tokenizer):
    config = read_settings(corpus, max_seq_length=6)
    sequences = pretrain.read_sequences(config, tokenizer)
    assert max(map(len, sequences)) == 6
    assert all(ids[0] == tokenizer.cls_token_id for ids in sequences)
    assert all(ids[-1] == tokenizer.sep_token_id for ids in sequences)
    with open(corpus["input_file"], encoding="utf-8") as file:
        words = sum(len(tokenizer.tokenize(line)) for line in file)
    assert sum(len(ids) - 2 for ids in sequences) == words


def test_other_settings_or_text_are_refused(corpus, tmp_path):
    first = new_run(corpus, tmp_path)
    train(first, 1)
    save(first)
    with raises_code("resume", "batch_size"):
        resume(new_run(corpus, tmp_path, batch_size=4))
    with open(corpus["input_file"], "a", encoding="utf-8") as file:
        file.write("one more good film\n")
    with raises_code("resume", "text"):
        resume(new_run(corpus, tmp_path))


def test_a_damaged_state_is_refused(corpus, tmp_path):
    trainer = new_run(corpus, tmp_path)
    train(trainer, 1)
    path = save(trainer) / OPTIMIZER_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with raises_code("file-damaged", OPTIMIZER_FILE):
        resume(new_run(corpus, tmp_path))
    (path.parent / MANIFEST_FILE).unlink()
    paddle.save({"other@moment1_0": paddle.zeros([1])}, str(path))
    with raises_code("resume"):
        resume(new_run(corpus, tmp_path))


def test_a_loss_that_is_not_a_number_stops(corpus, tmp_path):
    trainer = new_run(corpus, tmp_path)
    bias = trainer.model.generator.generator_lm_head_bias
    bias.set_value(paddle.full(bias.shape, float("nan")))
    with raises_code("not-finite", "step 1"):
        train(trainer)


def test_the_command_on_the_embedded_reviews(run_script, call_script, tmp_path):
    out = tmp_path / "out"
    common = ("pretrain.py", *FLAGS, "--output_dir", out, "--logging_steps", 2, "--save_steps", 3)
    started = run_script(*common)
    assert started.returncode == 0, started.stderr
    assert re.search(r"\b480\b.*\bcpu$", started.stdout, re.M)
    steps = re.findall(r"global step (\d+)/6, generator loss: ([\d.]+)", started.stdout)
    assert [int(step) for step, _ in steps] == [2, 4, 6]
    assert json.loads((out / "last" / "progress.json").read_text())["step"] == 6
    again = call_script(*common)
    assert_refused(again, "resume", out)
    resumed = call_script(*common, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "global step" not in resumed.stdout  # nothing is left to do


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_step(corpus, tmp_path, monkeypatch, number):
    """Paddle turns an exception in a hand-written gradient into an error of its own."""
    exit_on_sigterm()  # pytest has Python's own handler of Ctrl-C
    trainer, whole_step = new_run(corpus, tmp_path / "out"), pretrain.train_step

    def interrupted(run, update):
        signal.raise_signal(number)
        return whole_step(run, update)

    monkeypatch.setattr(pretrain, "train_step", interrupted)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            pretrain.fit(trainer, tmp_path / "out" / "last")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert trainer.step == 1


MISTAKES = {
    "no such text": (["--input_file", "nowhere.txt"], "file-missing", "nowhere.txt"),
    "no state": (["--resume"], "file-missing", "last"),
    "unknown size": (["--model_size", "huge"], "command-line", "huge"),
    "too long": (["--max_seq_length", "513"], "sequence-length", "513"),
    "too short": (["--max_seq_length", "2"], "command-line", "2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_user_mistakes_are_one_line(tmp_path, mistake):
    flags, code, fact = MISTAKES[mistake]
    argv = [str(part) for part in (*FLAGS, "--output_dir", tmp_path / "out", *flags)]
    with raises_code(code, fact):
        resume(pretrain.build(pretrain_settings(argv)))
    assert not (tmp_path / "out").exists()
