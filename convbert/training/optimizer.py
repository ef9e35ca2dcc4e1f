"""AdamW with layer-wise learning rates, chosen by parameter name."""

from argparse import Namespace
from collections import defaultdict

import paddle
from paddle import nn

from paddlenlp.transformers.convbert.weight_names import bare
from paddlenlp.transformers.optimization import CosineDecayWithWarmup, LinearDecayWithWarmup
from paddlenlp.utils.log import get_logger

SCHEDULES = {"linear": LinearDecayWithWarmup, "cosine": CosineDecayWithWarmup}


def parameter_depth(name: str, num_layers: int) -> int:
    """Depth of a parameter: embeddings 0, encoder layer i is i + 1, the head num_layers + 2.

    The rule of ELECTRA (arXiv 2003.10555, appendix B), whose head sits above a pooling layer.
    """
    parts = bare(name).split(".")
    if parts[0] in ("embeddings", "embeddings_project"):
        return 0
    return int(parts[2]) + 1 if parts[0] == "encoder" else num_layers + 2


def has_weight_decay(name: str) -> bool:
    """Whether weight decay applies: not to biases and normalisation."""
    return "bias" not in name and "norm" not in name


def make_schedule(config: Namespace, total_steps: int) -> paddle.optimizer.lr.LRScheduler:
    """Return the learning rate of the head, step by step, as the flags of train.py ask for it."""
    if config.warmup_steps >= total_steps:
        warning = "--warmup_steps %d: the run has %d steps, so it never leaves the warm-up"
        get_logger().warning(warning, config.warmup_steps, total_steps)
    warmup = config.warmup_steps or float(config.warmup_proportion)  # steps, or a share of them
    return SCHEDULES[config.scheduler_type](config.learning_rate, total_steps, warmup)


def make_optimizer(
    model: nn.Layer,
    schedule: paddle.optimizer.lr.LRScheduler,
    num_layers: int,
    layer_lr_decay: float = 0.8,
    weight_decay: float = 0.01,
    epsilon: float = 1e-6,
    max_grad_norm: float | None = None,
) -> paddle.optimizer.AdamW:
    """Build AdamW over the trainable parameters of ``model``.

    Parameter groups carry the layer-wise factors, because AdamW's own ``lr_ratio`` is not
    implemented on the CPU.

    Args:
        model: the bare model, not wrapped for data parallelism (names must start at its parts).
        schedule: the learning rate of the head, step by step.
        num_layers: number of encoder layers.
        layer_lr_decay: factor from one depth to the next lower one, in (0, 1]; 1 is off, also for
            models that are not a stack of layers below one head.
        weight_decay: decoupled weight decay of the matrices.
        epsilon: Adam's epsilon.
        max_grad_norm: clip the global gradient norm to this; None (upstream's default) is off.
    """
    groups, decayed = defaultdict(list), set()
    for name, parameter in model.named_parameters():
        if has_weight_decay(name):
            decayed.add(parameter.name)
        if not parameter.stop_gradient:
            below = 0 if layer_lr_decay == 1 else num_layers + 2 - parameter_depth(name, num_layers)
            groups[layer_lr_decay**below].append(parameter)
    return paddle.optimizer.AdamW(
        learning_rate=schedule,
        parameters=[{"params": found, "learning_rate": rate} for rate, found in groups.items()],
        weight_decay=weight_decay,
        epsilon=epsilon,
        apply_decay_param_fun=lambda name: name in decayed,
        grad_clip=nn.ClipGradByGlobalNorm(max_grad_norm) if max_grad_norm else None,
    )
