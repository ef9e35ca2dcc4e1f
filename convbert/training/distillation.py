"""Losses that make a student follow a teacher. Shapes: B batch, L length, H hidden, C classes."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F


def soft_loss(
    logits: paddle.Tensor, teacher_logits: paddle.Tensor, temperature: float
) -> paddle.Tensor:
    """Mean divergence of the student's softened answers from the teacher's (arXiv 1503.02531).

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``; the factor keeps the size of the
    gradient independent of the temperature.

    Args:
        logits: [B, C] float, the student's.
        teacher_logits: [B, C] float.
        temperature: T, positive.
    """
    wanted = F.softmax(teacher_logits / temperature)
    log_wanted = F.log_softmax(teacher_logits / temperature)
    log_given = F.log_softmax(logits / temperature)
    divergence = (wanted * (log_wanted - log_given)).sum(axis=-1)  # [B]
    return divergence.mean() * temperature**2


def hidden_loss(
    states: Sequence[paddle.Tensor], teacher_states: Sequence[paddle.Tensor], mask: paddle.Tensor
) -> paddle.Tensor:
    """Sum over the layers of the mean squared difference at real tokens.

    Args:
        states, teacher_states: as many tensors [B, L, H] each.
        mask: [B, L] float, 1 at real tokens and 0 at padding.
    """
    if len(states) != len(teacher_states):
        raise ValueError(f"{len(states)} states of the student, expected {len(teacher_states)}")
    share = (mask / mask.sum()).unsqueeze(-1)  # [B, L, 1]
    errors = [
        (((ours - theirs) ** 2).mean(axis=-1, keepdim=True) * share).sum()
        for ours, theirs in zip(states, teacher_states)
    ]
    return paddle.add_n(errors)
