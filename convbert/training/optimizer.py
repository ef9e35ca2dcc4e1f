"""The optimizer of fine-tuning: AdamW with layer-wise learning rates, chosen by parameter name."""

from __future__ import annotations

import re

import paddle
from paddle import nn

from paddlenlp.transformers.optimization import CosineDecayWithWarmup, LinearDecayWithWarmup

SCHEDULERS = {"linear": LinearDecayWithWarmup, "cosine": CosineDecayWithWarmup}

# The start of a parameter's name gives its depth. The dots matter: "layers.1." must not match
# "layers.10.".
EMBEDDINGS = re.compile(r"convbert\.embeddings(_project)?\.")
LAYER = re.compile(r"convbert\.encoder\.layers\.(\d+)\.")
HEAD = re.compile(r"((classifier|pooler|\w+_predictions)\.|generator_lm_head_bias$)")
NO_DECAY = ("bias", "norm")


def parameter_depth(name: str, num_layers: int) -> int:
    """Depth of a parameter: embeddings 0, encoder layer i is i + 1, the head num_layers + 2.

    The rule of ELECTRA (arXiv 2003.10555, appendix B), whose head sits above a pooling layer.

    Raises:
        ValueError: a name that belongs to no known part of the model.
    """
    if EMBEDDINGS.match(name):
        return 0
    layer = LAYER.match(name)
    if layer:
        return int(layer.group(1)) + 1
    if HEAD.match(name):
        return num_layers + 2
    raise ValueError(
        f"parameter '{name}' has no depth: add its part to convbert/training/optimizer.py"
    )


def lr_factor(name: str, num_layers: int, layer_lr_decay: float) -> float:
    """Factor of the learning rate for this parameter: 1 at the head, smaller below."""
    if layer_lr_decay == 1:
        return 1.0  # off; also for models that are not a stack of layers below one head
    return layer_lr_decay ** (num_layers + 2 - parameter_depth(name, num_layers))


def has_weight_decay(name: str) -> bool:
    """Whether weight decay applies: not to biases and normalisation."""
    return not any(part in name for part in NO_DECAY)


def parameter_groups(model: nn.Layer, num_layers: int, layer_lr_decay: float) -> list[dict]:
    """Group the trainable parameters by their learning-rate factor, for Paddle's optimizers."""
    groups: dict[float, list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            groups.setdefault(lr_factor(name, num_layers, layer_lr_decay), []).append(parameter)
    return [{"params": params, "learning_rate": factor} for factor, params in groups.items()]


def make_optimizer(
    model: nn.Layer,
    schedule: paddle.optimizer.lr.LRScheduler,
    num_layers: int,
    layer_lr_decay: float = 0.8,
    weight_decay: float = 0.01,
    epsilon: float = 1e-6,
    max_grad_norm: float | None = None,
) -> paddle.optimizer.AdamW:
    """Build AdamW over ``model``'s parameters.

    Parameter groups carry the layer-wise factors, because AdamW's own ``lr_ratio`` is not
    implemented on the CPU.

    Args:
        model: the bare model, not wrapped for data parallelism (names must start at its parts).
        schedule: the learning rate of the head, step by step.
        num_layers: number of encoder layers.
        layer_lr_decay: factor from one depth to the next lower one, in (0, 1]; 1 is off.
        weight_decay: decoupled weight decay of the matrices.
        epsilon: Adam's epsilon.
        max_grad_norm: clip the global gradient norm to this; None (upstream's default) is off.
    """
    decayed = {p.name for name, p in model.named_parameters() if has_weight_decay(name)}
    return paddle.optimizer.AdamW(
        learning_rate=schedule,
        parameters=parameter_groups(model, num_layers, layer_lr_decay),
        weight_decay=weight_decay,
        epsilon=epsilon,
        apply_decay_param_fun=lambda name: name in decayed,
        grad_clip=nn.ClipGradByGlobalNorm(max_grad_norm) if max_grad_norm else None,
    )
