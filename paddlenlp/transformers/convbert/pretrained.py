"""The base class of the models: loading and saving of checkpoints."""

import os
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.convbert import weight_names
from paddlenlp.transformers.convbert.call_forms import CallForms
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.transformers.convbert.weight_names import PREFIX, bare, is_of_head
from paddlenlp.transformers.tokenizer_settings import padding_id
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_path, write_json
from paddlenlp.utils.hub import local_model, pretrained_file
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.products import add_to_manifest, verify

CLASS_BIASES = ("classifier.out_proj.bias", "classifier.bias")  # [C]


class ConvBertPretrainedModel(nn.Layer, metaclass=CallForms):
    """Base class of the models, which are built from a configuration.

    Raises:
        UserError: the weights of this configuration do not fit into free memory.
    """

    # Upstream's class attributes.
    config_class = ConvBertConfig
    base_model_prefix = "convbert"
    model_config_file = checkpoint.CONFIG_FILE
    resource_files_names = {"model_state": checkpoint.WEIGHTS_FILE}
    pretrained_init_configuration = {name: {**sizes} for name, sizes in PRESETS.items()}

    def __init__(self, config: ConvBertConfig):
        super().__init__()
        _require_memory(config)
        self.config = config

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str, new_head: bool = True, **overrides: Any
    ) -> "ConvBertPretrainedModel":
        """Build the model of a checkpoint and load its weights.

        Args:
            name_or_dir: a bundled or published name, or a checkpoint directory in the layout of
                this library, of PaddleNLP or of transformers (``pytorch_model.bin`` needs torch).
            new_head: True: if the checkpoint has no head of this model (a pretrained body), or one
                for a number of classes other than ``num_classes`` in the overrides, the head starts
                with random weights, which is logged; heads that the model does not have are
                ignored. False: all of these are errors.
            overrides: configuration fields that replace the checkpoint's.

        Raises:
            UserError: the checkpoint cannot be read, or its weights do not fit (named).
        """
        directory = local_model(name_or_dir)
        is_published = directory is None  # upstream publishes weights without a configuration
        if is_published:
            directory = pretrained_file(name_or_dir, checkpoint.WEIGHTS_FILE).parent
        else:
            verify(directory)
        config_file, weights_file = checkpoint.find_files(str(directory), is_published)
        weights = checkpoint.read_weights(str(directory / weights_file))
        is_hf = weight_names.is_hf(weights, str(directory / weights_file))
        if config_file is None:
            raw, config = {}, ConvBertConfig.preset(name_or_dir, **overrides)
        else:
            path = str(directory / config_file)
            raw = checkpoint.read_model_config(path)
            padding = padding_id(directory) if is_hf else None
            padded = {} if padding is None else {"pad_token_id": padding}
            config = ConvBertConfig.from_dict(raw, path, **{**padded, **overrides})
        model = cls(config)
        if is_hf:
            weights = weight_names.to_paddle(weights, model.state_dict(), cls.__name__, raw)
        if new_head and "num_classes" in overrides and model._other_classes(weights):
            weights = {name: array for name, array in weights.items() if not is_of_head(name)}
        model.load_weights(weights, str(directory), new_head)
        return model

    def load_weights(
        self, weights: dict[str, np.ndarray], source: str, new_head: bool = False
    ) -> None:
        """Set every parameter from named arrays; nothing is skipped silently.

        Args:
            weights: arrays by parameter name, with or without the body's prefix.
            source: where they come from, for messages.
            new_head: keep the random head if the weights have none; a body ignores heads.

        Raises:
            UserError: tensors are missing, superfluous, of a wrong shape or type, or not finite
                (all named).
        """
        target = self.state_dict()
        known = {bare(name) for name in target}
        given = {bare(name): array for name, array in weights.items()}
        missing = [name for name in target if bare(name) not in given]
        # A name with and without the prefix: nothing says which of them is right.
        extra = [name for name in weights if bare(name) not in known or PREFIX + name in weights]
        head = [name for name in target if is_of_head(name)]
        has_no_head = bool(head) and missing == head
        if has_no_head and not new_head:
            raise UserError(
                "weights",
                f"'{source}' has no head for {type(self).__name__}: fine-tune it first with "
                "train.py --model_name_or_path",
            )
        if has_no_head:
            get_logger().info(
                "%s has no head for %s: it starts with random weights", source, type(self).__name__
            )
            missing = []
        if new_head and (has_no_head or not head):  # the heads of pretraining or another task
            extra = [name for name in extra if not is_of_head(name)]
        for size, expected in self._other_classes(weights):
            raise UserError(  # named separately, because the cause is often a list of labels
                "label",
                f"the head in '{source}' has {size} classes, but the configuration (id2label, "
                f"num_classes) or the task has {expected}: give one label name per class",
            )
        fitting = {name: given[bare(name)] for name in target if bare(name) in given}
        self._check_fit(target, fitting, missing, extra, source)
        self.set_state_dict(fitting)

    def _other_classes(self, weights: dict[str, np.ndarray]) -> list[tuple[int, int]]:
        """The number of classes in the weights and in the model, if it differs."""
        target = self.state_dict()
        biases = [name for name in CLASS_BIASES if name in weights and name in target]
        sizes = [(weights[name].size, target[name].size) for name in biases]
        return [(size, expected) for size, expected in sizes if size != expected]

    def _check_fit(self, target, fitting, missing, extra, source) -> None:
        shapes = [
            f"{name} {list(array.shape)} instead of {target[name].shape}"
            for name, array in fitting.items()
            if list(array.shape) != target[name].shape
        ]
        types = [f"{n} {array.dtype}" for n, array in fitting.items() if array.dtype != np.float32]
        problems = {
            "missing": missing,
            "unknown": extra,
            "of another shape": shapes,
            "not floating-point numbers": types,
        }
        named = [
            f"{kind}: {checkpoint.shorten(names)}" for kind, names in problems.items() if names
        ]
        if named:
            raise UserError(
                "weights",
                f"the weights in '{source}' do not fit {type(self).__name__} with the "
                f"configuration beside them; {'; '.join(named)}",
            )
        infinite = [name for name, array in fitting.items() if not np.isfinite(array).all()]
        if infinite:
            raise UserError(
                "not-finite",
                f"the weights in '{source}' have NaN or infinity in {checkpoint.shorten(infinite)}:"
                " use an earlier checkpoint",
            )

    def save_pretrained(self, directory: str) -> None:
        """Write ``model_config.json`` and ``model_state.pdparams``, each atomically.

        Other files in the directory are kept.

        Raises:
            UserError: the directory cannot be written.
        """
        with atomic_path(os.path.join(directory, checkpoint.WEIGHTS_FILE)) as path:
            paddle.save(self.state_dict(), str(path))
        self.save_config(directory)
        names = (checkpoint.WEIGHTS_FILE, checkpoint.CONFIG_FILE)
        add_to_manifest(directory, "checkpoint", names)

    def save_config(self, directory: str) -> None:
        """Write ``model_config.json`` into an existing directory."""
        config = {"architecture": type(self).__name__, **self.config.to_dict()}
        write_json(os.path.join(directory, checkpoint.CONFIG_FILE), config)


PretrainedModel = ConvBertPretrainedModel  # upstream's base class of all models


def _require_memory(config: ConvBertConfig) -> None:
    import psutil

    needed, free = 4 * config.parameter_count, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            "configuration",
            f"a model of this configuration has {config.parameter_count} parameters, which take "
            f"{needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB of memory are free: correct its "
            "sizes, or use a larger machine",
        )
