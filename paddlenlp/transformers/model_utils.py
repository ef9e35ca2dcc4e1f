"""Base class of the models: load from a known name or a directory, and save to a directory."""

import json
import os
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.tokenizer_settings import padding_id
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_path, atomic_write
from paddlenlp.utils.hub import local_model, pretrained_file
from paddlenlp.utils.log import get_logger
from paddlenlp.utils.products import add_to_manifest, verify


def resolve_checkpoint(name_or_dir: str) -> str:
    """Return a local checkpoint directory, downloading a published model into the cache.

    Raises:
        UserError: it is neither a directory nor a known name, or the download failed.
    """
    directory = local_model(name_or_dir)
    return str(directory or pretrained_file(name_or_dir, checkpoint.WEIGHTS_FILE).parent)


def require_memory(config) -> None:
    """Raise `UserError` if the weights of a configuration do not fit into free memory."""
    import psutil

    needed, free = 4 * config.parameter_count, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            "configuration",
            f"a model of this configuration has {config.parameter_count} parameters, which take "
            f"{needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB of memory are free: correct its "
            "sizes, or use a larger machine",
        )


class PretrainedModel(nn.Layer):
    """Base class of the models.

    A subclass sets ``config_class`` and ``base_model_prefix`` (the attribute of the body), and
    defines how to rename the tensors of transformers.
    """

    config_class: type
    base_model_prefix = ""
    class_biases: tuple[str, ...] = ()  # parameters of shape [C]
    # Upstream's names for the files of a checkpoint.
    model_config_file = checkpoint.CONFIG_FILE
    resource_files_names = {"model_state": checkpoint.WEIGHTS_FILE}

    def __init__(self, config):
        super().__init__()
        require_memory(config)
        self.config = config

    @classmethod
    def is_hf(cls, weights: dict[str, np.ndarray], source: str) -> bool:
        """Whether the tensors have transformers' names, and so torch's orientation.

        Raises:
            UserError: the names are of both kinds, or of an adapter (LoRA).
        """
        raise NotImplementedError

    @classmethod
    def from_hf(cls, weights: dict[str, np.ndarray], config, hf_config: dict[str, Any]) -> dict:
        """Rename and reshape the tensors of a transformers checkpoint.

        Args:
            weights: arrays by name in transformers.
            config: the model's configuration.
            hf_config: the content of ``config.json``.
        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str, new_head: bool = True, **overrides: Any
    ) -> "PretrainedModel":
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
        directory = resolve_checkpoint(name_or_dir)
        config, weights = cls._read(name_or_dir, directory, overrides)
        model = cls(config)
        if new_head and "num_classes" in overrides:
            weights = model._without_other_head(weights)
        model.load_weights(weights, directory, new_head)
        return model

    @classmethod
    def _read(cls, name: str, directory: str, overrides: dict[str, Any]):
        # Upstream publishes weights without a configuration.
        published = local_model(name) is None
        if not published:
            verify(directory)
        config_file, weights_file = checkpoint.find_files(directory, config_optional=published)
        weights = checkpoint.read_weights(os.path.join(directory, weights_file))
        is_hf = cls.is_hf(weights, os.path.join(directory, weights_file))
        if config_file is None:
            return cls.config_class.preset(name, **overrides), weights
        config_path = os.path.join(directory, config_file)
        raw = checkpoint.read_model_config(config_path)
        padding = padding_id(directory) if is_hf else None
        if padding is not None:
            overrides = {"pad_token_id": padding, **overrides}
        config = cls.config_class.from_dict(raw, config_path, **overrides)
        return config, cls.from_hf(weights, config, raw) if is_hf else weights

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
        given, weights = weights, self._match_prefix(weights, target)
        missing = [name for name in target if name not in weights]
        extra = [name for name in weights if name not in target]
        body = self.base_model_prefix + "."
        head = [name for name in target if not name.startswith(body)]
        no_head = 0 < len(head) < len(target) and set(missing) == set(head)
        if no_head and not new_head:
            raise UserError(
                "weights",
                f"'{source}' has no head for {type(self).__name__}: fine-tune it first with "
                "train.py --model_name_or_path",
            )
        if no_head:
            get_logger().info(
                "%s has no head for %s: it starts with random weights", source, type(self).__name__
            )
            missing = []
            # A pretraining checkpoint has other heads, which this model does not use.
            extra = [name for name in extra if name.startswith(body)]
        elif new_head and set(weights) != set(given):  # a body from a checkpoint with heads
            extra = [name for name in extra if name not in given]
        self._check_classes(target, weights, source)
        self._check_fit(target, weights, missing, extra, source)
        fitting = {name: weights[name] for name in target if name in weights}
        infinite = [name for name, array in fitting.items() if not np.isfinite(array).all()]
        if infinite:
            raise UserError(
                "not-finite",
                f"the weights in '{source}' have NaN or infinity in {checkpoint.shorten(infinite)}:"
                " use an earlier checkpoint",
            )
        self.set_state_dict(fitting)

    def _without_other_head(self, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Remove the head if it was trained for another number of classes."""
        target, body = self.state_dict(), self.base_model_prefix + "."
        biases = [name for name in self.class_biases if name in target and name in weights]
        if all(weights[name].size == target[name].size for name in biases):
            return weights
        head = [name for name in target if not name.startswith(body)]
        return {name: array for name, array in weights.items() if name not in head}

    def _match_prefix(self, weights: dict[str, np.ndarray], target) -> dict[str, np.ndarray]:
        body = self.base_model_prefix + "."
        prefixed = any(name.startswith(body) for name in weights)
        if prefixed == any(name.startswith(body) for name in target):
            return weights
        if prefixed:
            return {n[len(body) if n.startswith(body) else 0 :]: w for n, w in weights.items()}
        return {body + name: array for name, array in weights.items()}

    def _check_classes(self, target, weights, source) -> None:
        """Report a wrong number of classes separately, because its cause is often a list of
        labels."""
        for name in self.class_biases:
            if name in target and name in weights and weights[name].size != target[name].size:
                raise UserError(
                    "label",
                    f"the head in '{source}' has {weights[name].size} classes, but the "
                    f"configuration (id2label, num_classes) or the task has {target[name].size}: "
                    "give one label name per class",
                )

    def _check_fit(self, target, weights, missing, extra, source) -> None:
        misshaped = [
            f"{name} {list(weights[name].shape)} instead of {list(target[name].shape)}"
            for name in target
            if name in weights and list(weights[name].shape) != list(target[name].shape)
        ]
        mistyped = [
            f"{name} {weights[name].dtype}"
            for name in target
            if name in weights and weights[name].dtype != np.float32
        ]
        found = [
            ("missing", missing),
            ("unknown", extra),
            ("of another shape", misshaped),
            ("not floating-point numbers", mistyped),
        ]
        problems = [f"{kind}: {checkpoint.shorten(names)}" for kind, names in found if names]
        if problems:
            raise UserError(
                "weights",
                f"the weights in '{source}' do not fit {type(self).__name__} with the "
                f"configuration beside them; {'; '.join(problems)}",
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
        with atomic_write(os.path.join(directory, checkpoint.CONFIG_FILE)) as file:
            json.dump(config, file, indent=2)
            file.write("\n")
