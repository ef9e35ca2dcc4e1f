"""A fine-tuning run, built out of its settings: data, tokenizer, model, processes, trainer."""

from __future__ import annotations

import os

import paddle

from convbert.command.machine import use_device
from convbert.text.processing import TextProcessor
from convbert.training.data import load_split
from convbert.training.ranks import join_ranks
from convbert.training.settings import TrainConfig
from convbert.training.tasks import TASKS
from convbert.training.trainer import Trainer
from paddlenlp.transformers import (
    ConvBertConfig,
    ConvBertForSequenceClassification,
    ConvBertTokenizer,
)
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

GPU_PAD_MULTIPLE = 8  # tensor cores like it; on a CPU every padded position only costs time


def build_trainer(config: TrainConfig) -> Trainer:
    """Load everything a run needs; nothing is written, so a mistake leaves no trace.

    Raises:
        UserError: data, model, device or settings that cannot work.
    """
    device = use_device(config.device)
    on_gpu = device.startswith("gpu")
    if config.use_amp and not on_gpu:
        get_logger().warning("--use_amp has no effect on a CPU: training in float32")
    task = TASKS[config.task_name]
    tokenizer = build_tokenizer(config, task.labels)
    processor = TextProcessor(
        tokenizer, config.max_seq_length, task.labels, GPU_PAD_MULTIPLE if on_gpu else 1
    )
    splits = ("train", *task.dev_splits)
    train, *dev = (load_split(task, split, processor, config.data_dir) for split in splits)
    ranks = join_ranks(device)
    paddle.seed(config.seed)
    model = build_model(config, task.num_classes, processor)
    paddle.seed(config.seed + ranks.rank)  # the same weights, but dropout of its own on each rank
    if ranks.is_main:
        count = sum(parameter.size for parameter in model.parameters())
        get_logger().info(
            "device: %s, processes: %d, parameters: %d, training examples: %d",
            device,
            ranks.size,
            count,
            len(train),
        )
    return Trainer(config, task, model, train, dev, ranks, config.use_amp and on_gpu)


def build_tokenizer(config: TrainConfig, label_names: list[str] | None) -> ConvBertTokenizer:
    """Open the vocabulary of ``--vocab_file`` or of the named model.

    Raises:
        UserError: it is missing, damaged, or cannot be downloaded.
    """
    source = config.model_name_or_path
    if config.vocab_file:
        return ConvBertTokenizer(config.vocab_file, label_names=label_names)
    if source.endswith(".json"):
        raise UserError(
            "command-line", "a model_config.json brings no vocabulary: give --vocab_file too"
        )
    return ConvBertTokenizer.from_pretrained(source, label_names=label_names)


def build_model(
    config: TrainConfig, num_classes: int, processor: TextProcessor
) -> ConvBertForSequenceClassification:
    """Load the named weights, or with ``--from_scratch`` make random ones of that size.

    Raises:
        UserError: the model is unknown, or it fits neither its weights, the vocabulary nor
            ``--max_seq_length``.
    """
    tokenizer = processor.tokenizer
    overrides = {**config.model_overrides, "num_classes": num_classes}
    if config.from_scratch:
        overrides.update(vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id)
        shape = _shape(config.model_name_or_path, **overrides)
        model = ConvBertForSequenceClassification(shape)
    else:
        source = config.model_name_or_path
        model = ConvBertForSequenceClassification.from_pretrained(source, **overrides)
    processor.check_fits(model.config, config.vocab_file or config.model_name_or_path)
    return model


def _shape(source: str, **overrides) -> ConvBertConfig:
    """The size of a published model, of a checkpoint directory or of a model_config.json."""
    if os.path.isdir(source):
        source = os.path.join(source, CONFIG_FILE)
    if source.endswith(".json"):
        return ConvBertConfig.from_dict(read_json(source), **overrides)
    return ConvBertConfig.preset(source, **overrides)
