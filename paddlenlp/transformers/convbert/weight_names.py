"""The names of ConvBERT's tensors here (upstream's names) and in transformers' checkpoints.

Shapes differ in two ways: torch stores the weight of a linear layer as [out, in], Paddle as
[in, out]; and the bias of the separable convolution is a column [O, 1] in transformers. The filters
of convolutions and the weights of grouped linear layers are 3-D, and the same on both sides.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from paddlenlp.transformers.checkpoint import shorten
from paddlenlp.utils.errors import UserError

PREFIX = "convbert."  # of the body's tensors in a model with a head
WORDS = PREFIX + "embeddings.word_embeddings.weight"
TIED = "generator_lm_head.weight"  # transformers' second name of the word embeddings
# Constant tables that older versions of transformers saved among the weights.
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")

_COLUMN = "key_conv_attn_layer.bias"

# Parts of names here -> in transformers, replaced in this order.
BODY = {
    "embeddings.layer_norm.": "embeddings.LayerNorm.",
    "encoder.layers.": "encoder.layer.",
    ".self_attn.q_proj.": ".attention.self.query.",
    ".self_attn.k_proj.": ".attention.self.key.",
    ".self_attn.v_proj.": ".attention.self.value.",
    ".self_attn.out_proj.": ".attention.output.dense.",
    ".self_attn.": ".attention.self.",  # the three layers of the convolution
    ".norm1.": ".attention.output.LayerNorm.",
    ".linear1.": ".intermediate.dense.",
    ".linear2.": ".output.dense.",
    ".norm2.": ".output.LayerNorm.",
}


class Head(NamedTuple):
    """The class in transformers with the same head, the names that differ, required settings."""

    hf_class: str
    renamed: dict[str, str] = {}
    hf_settings: dict[str, Any] = {}


HEADS: dict[str, Head] = {
    "ConvBertModel": Head("ConvBertModel"),
    "ConvBertForSequenceClassification": Head("ConvBertForSequenceClassification"),
    "ConvBertForTokenClassification": Head("ConvBertForTokenClassification"),
    "ConvBertForQuestionAnswering": Head(
        "ConvBertForQuestionAnswering", {"classifier.": "qa_outputs."}
    ),
    # transformers' default summary is the bare last token; with these settings it is our pooler.
    "ConvBertForMultipleChoice": Head(
        "ConvBertForMultipleChoice",
        {"pooler.dense.": "sequence_summary.summary."},
        {"summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"},
    ),
    "ConvBertGenerator": Head(
        "ConvBertForMaskedLM",
        {
            "generator_predictions.layer_norm.": "generator_predictions.LayerNorm.",
            "generator_lm_head_bias": "generator_lm_head.bias",
        },
    ),
    # transformers has no ConvBERT discriminator: the head has ELECTRA's names, the body loads.
    "ConvBertDiscriminator": Head("ConvBertModel"),
}


def bare(name: str) -> str:
    """A name without the body's prefix, which checkpoints of bodies do not have."""
    return name.removeprefix(PREFIX)


def is_of_head(name: str) -> bool:
    """Whether a tensor, under its name here, belongs to a head."""
    return not bare(name).startswith(("embeddings.", "embeddings_project.", "encoder."))


def find_head(architecture: str) -> Head:
    """Return the row of `HEADS`.

    Raises:
        UserError: no such architecture.
    """
    if architecture not in HEADS:
        names = ", ".join(HEADS)
        raise UserError(
            "model-name",
            f"architecture '{architecture}' is unknown: give --architecture, one of {names}",
        )
    return HEADS[architecture]


def hf_name(name: str, architecture: str) -> str:
    """Return the name in transformers of a tensor of a model, ``architecture`` of `HEADS`."""
    for ours, theirs in {**BODY, **find_head(architecture).renamed}.items():
        name = name.replace(ours, theirs)
    return name


def to_hf(weights: dict[str, np.ndarray], architecture: str) -> dict[str, np.ndarray]:
    """Rename and reshape the whole state dict of a model for transformers."""
    return {
        hf_name(name, architecture): array.reshape([-1, 1])
        if name.endswith(_COLUMN)
        else _transposed(name, array)
        for name, array in weights.items()
    }


def _transposed(name: str, array: np.ndarray) -> np.ndarray:
    is_linear = array.ndim == 2 and not name.endswith("_embeddings.weight")
    return np.ascontiguousarray(array.T) if is_linear else array


# Parts of names that occur only on one side. Names on both sides (embeddings, classifier) are
# ambiguous, and a square matrix fits in either orientation, so the names of the body decide for all
# tensors.
_ONLY_OURS = ("encoder.layers.", "embeddings.layer_norm.")
_ONLY_THEIRS = ("encoder.layer.", "embeddings.LayerNorm.")


def is_hf(weights: Iterable[str], source: str) -> bool:
    """Whether tensors have the names of transformers, and so torch's orientation [out, in].

    Raises:
        UserError: the names are from both sides, or from an adapter (LoRA).
    """
    adapters = [name for name in weights if "lora_" in name.lower()]
    if adapters:
        named = shorten(adapters, 2)
        message = f"{source} contains weights of an adapter ({named})"
        raise UserError("checkpoint", f"{message}: merge it into its model and save the result")
    ours = [name for name in weights if any(part in name for part in _ONLY_OURS)]
    theirs = [name for name in weights if any(part in name for part in _ONLY_THEIRS)]
    if ours and theirs:
        raise UserError(
            "checkpoint",
            f"{source} mixes names of Paddle ({shorten(ours, 1)}) and of transformers "
            f"({shorten(theirs, 1)}), whose matrices are transposed: convert one of them",
        )
    return bool(theirs)


def to_paddle(
    weights: dict[str, np.ndarray],
    names: Iterable[str],
    architecture: str,
    hf_config: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Rename and reshape the tensors of a transformers checkpoint.

    Unknown names are kept, so that strict loading reports them.

    Args:
        weights: arrays by name in transformers, the body with or without its prefix.
        names: the tensors of the model to load them into.
        architecture: its class, a key of `HEADS`.
        hf_config: the content of ``config.json``.

    Raises:
        UserError: the head differs from ours.
    """
    ours = {bare(hf_name(name, architecture)): bare(name) for name in names}
    _check_head(weights, ours, find_head(architecture), hf_config)
    found = {}
    for name, array in weights.items():
        if name.endswith(BUFFERS) or (name == TIED and architecture == "ConvBertGenerator"):
            continue
        known = ours.get(bare(name))
        if known is None:
            found[name] = array
            continue
        is_column = known.endswith(_COLUMN) and array.shape[1:] == (1,)
        prefix = PREFIX if name.startswith(PREFIX) else ""
        found[prefix + known] = array[:, 0] if is_column else _transposed(known, array)
    return found


def _check_head(weights, ours: dict[str, str], head: Head, hf_config: dict[str, Any]) -> None:
    has_head = any(theirs in weights and is_of_head(name) for theirs, name in ours.items())
    for key, value in head.hf_settings.items() if has_head else ():
        if hf_config.get(key) != value:
            message = f"this {head.hf_class} has {key} {hf_config.get(key)!r}"
            raise UserError("checkpoint", f"{message}: only {value!r} is supported")
    is_tied = TIED not in weights or WORDS not in weights
    if head.hf_class == "ConvBertForMaskedLM" and not (
        is_tied or np.array_equal(weights[TIED], weights[WORDS])
    ):
        message = f"{TIED} differs from {WORDS}: only tied weights are supported"
        raise UserError("checkpoint", message)
