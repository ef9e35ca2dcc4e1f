"""Flags of train.py: defaults, precedence, and one clear line per mistake."""

import pytest

from convbert.training.settings import TRAIN_FLAGS, train_settings
from tests.helpers.errors import raises_code

# What upstream's users rely on (DESIGN.md, section 1).
UPSTREAM = {
    "task_name": "sst-2",
    "model_type": "convbert",
    "model_name_or_path": "convbert-base",
    "output_dir": "./convbert_base_outputs",
    "scheduler_type": "linear",
    "max_seq_length": 128,
    "learning_rate": 1e-4,
    "layer_lr_decay": 0.8,
    "num_train_epochs": 3,
    "logging_steps": 100,
    "save_steps": 400,
    "batch_size": 32,
    "weight_decay": 0.01,
    "warmup_steps": 0,
    "warmup_proportion": 0.1,
    "adam_epsilon": 1e-6,
    "max_steps": -1,
    "seed": 42,
}


def test_defaults_are_upstreams():
    config = train_settings([])
    assert {name: getattr(config, name) for name in UPSTREAM} == UPSTREAM
    assert config.device is None
    assert config.max_grad_norm == 0.0


def test_defaults_then_task_then_user():
    assert train_settings(["--task_name", "sst-2"]).num_train_epochs == 3
    assert train_settings(["--task_name", "rte"]).num_train_epochs == 10
    assert train_settings(["--task_name", "sts-b"]).num_train_epochs == 10
    given = ["--num_train_epochs", "3"]  # the general default, but the user said it
    assert train_settings(["--task_name", "rte", *given]).num_train_epochs == 3


def test_every_flag_has_a_help():
    assert all(row[3] for row in TRAIN_FLAGS)


def test_booleans_take_a_word_or_none():
    assert train_settings(["--group_by_length"]).group_by_length is True
    assert train_settings(["--group_by_length", "False"]).group_by_length is False
    assert train_settings([]).group_by_length is False


@pytest.mark.parametrize(
    ("argv", "fact"),
    [
        (["--task_name", "imdb"], "sst-2"),
        (["--scheduler_type", "step"], "cosine"),
        (["--model_type", "bert"], "convbert"),
        (["--device", "npu"], "gpu"),
        (["--batch_size", "0"], "--batch_size"),
        (["--cpu_threads", "1025"], "1024"),
        (["--learning_rate", "fast"], "'fast'"),
        (["--learning_rate", "nan"], "--learning_rate"),
        (["--warmup_proportion", "1.5"], "1.5"),
        (["--group_by_length", "maybe"], "'maybe'"),
        (["--max_steps", "0"], "--max_steps"),
        (["--hidden_size", "64"], "--from_scratch"),
        (["--vocab_file", "vocab.txt"], "--from_scratch"),
        (["--learning_rat", "1"], "--learning_rat"),
        (["--resume", "--overwrite"], "--overwrite"),
        (["--seed", str(2**64)], str(2**64)),
    ],
)
def test_mistakes_are_one_line(argv, fact):
    with raises_code("command-line", fact):
        train_settings(argv)
