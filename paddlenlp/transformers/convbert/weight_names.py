"""The names of ConvBERT's tensors here (upstream's names) and in transformers' checkpoints.

One table is used in both directions. Shapes differ in two ways: torch stores the weight of a linear
layer as [out, in], Paddle as [in, out]; and one bias is a column [O, 1] in transformers.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from paddlenlp.transformers.checkpoint import shorten
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError

SAME, TRANSPOSED, COLUMN = "same", "transposed", "column"

# The tensors of one layer, and how each changes.
Kind = tuple[tuple[str, str], ...]
EMBEDDING: Kind = ((".weight", SAME),)
NORM: Kind = ((".weight", SAME), (".bias", SAME))
LINEAR: Kind = ((".weight", TRANSPOSED), (".bias", SAME))  # grouped: 3-D, the same on both sides
FILTERS: Kind = ((".weight", SAME),)  # [out, in / groups, K] on both sides
CHANNEL_BIAS: Kind = ((".bias", COLUMN),)  # [O] here, [O, 1] there
VECTOR: Kind = (("", SAME),)

# here, in transformers, kind; {} is the number of the encoder layer
BODY = (
    ("embeddings.word_embeddings", "embeddings.word_embeddings", EMBEDDING),
    ("embeddings.position_embeddings", "embeddings.position_embeddings", EMBEDDING),
    ("embeddings.token_type_embeddings", "embeddings.token_type_embeddings", EMBEDDING),
    ("embeddings.layer_norm", "embeddings.LayerNorm", NORM),
)
PROJECTION = (("embeddings_project", "embeddings_project", LINEAR),)  # embedding != hidden size
_OURS = "encoder.layers.{}.self_attn."
_THEIRS = "encoder.layer.{}.attention.self."
_CONV = "key_conv_attn_layer"
LAYER = (
    (_OURS + "q_proj", _THEIRS + "query", LINEAR),
    (_OURS + "k_proj", _THEIRS + "key", LINEAR),
    (_OURS + "v_proj", _THEIRS + "value", LINEAR),
    (_OURS + _CONV + ".depthwise", _THEIRS + _CONV + ".depthwise", FILTERS),
    (_OURS + _CONV + ".pointwise", _THEIRS + _CONV + ".pointwise", FILTERS),
    (_OURS + _CONV, _THEIRS + _CONV, CHANNEL_BIAS),
    (_OURS + "conv_kernel_layer", _THEIRS + "conv_kernel_layer", LINEAR),
    (_OURS + "conv_out_layer", _THEIRS + "conv_out_layer", LINEAR),
    (_OURS + "out_proj", "encoder.layer.{}.attention.output.dense", LINEAR),
    ("encoder.layers.{}.norm1", "encoder.layer.{}.attention.output.LayerNorm", NORM),
    ("encoder.layers.{}.linear1", "encoder.layer.{}.intermediate.dense", LINEAR),
    ("encoder.layers.{}.linear2", "encoder.layer.{}.output.dense", LINEAR),
    ("encoder.layers.{}.norm2", "encoder.layer.{}.output.LayerNorm", NORM),
)


class Head(NamedTuple):
    """The class in transformers with the same head, its tensors, and the settings it requires."""

    hf_class: str
    rows: tuple[tuple[str, str, Kind], ...]
    hf_settings: dict[str, Any] = {}


HEADS: dict[str, Head] = {
    "ConvBertModel": Head("ConvBertModel", ()),
    "ConvBertForSequenceClassification": Head(
        "ConvBertForSequenceClassification",
        (
            ("classifier.dense", "classifier.dense", LINEAR),
            ("classifier.out_proj", "classifier.out_proj", LINEAR),
        ),
    ),
    "ConvBertForTokenClassification": Head(
        "ConvBertForTokenClassification", (("classifier", "classifier", LINEAR),)
    ),
    "ConvBertForQuestionAnswering": Head(
        "ConvBertForQuestionAnswering", (("classifier", "qa_outputs", LINEAR),)
    ),
    # transformers' default summary is the bare last token; with these settings it is our pooler.
    "ConvBertForMultipleChoice": Head(
        "ConvBertForMultipleChoice",
        (
            ("pooler.dense", "sequence_summary.summary", LINEAR),
            ("classifier", "classifier", LINEAR),
        ),
        {"summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"},
    ),
    "ConvBertGenerator": Head(
        "ConvBertForMaskedLM",
        (
            ("generator_predictions.dense", "generator_predictions.dense", LINEAR),
            ("generator_predictions.layer_norm", "generator_predictions.LayerNorm", NORM),
            ("generator_lm_head_bias", "generator_lm_head.bias", VECTOR),
        ),
    ),
    # transformers has no ConvBERT discriminator: the head has ELECTRA's names, the body loads.
    "ConvBertDiscriminator": Head(
        "ConvBertModel",
        (
            ("discriminator_predictions.dense", "discriminator_predictions.dense", LINEAR),
            (
                "discriminator_predictions.dense_prediction",
                "discriminator_predictions.dense_prediction",
                LINEAR,
            ),
        ),
    ),
}

PREFIX = "convbert."
WORDS = "embeddings.word_embeddings.weight"
TIED = "generator_lm_head.weight"  # transformers' second name of the word embeddings
# Constant tables that older versions of transformers saved among the weights.
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")

# form -> (from here to transformers, back)
_FORMS: dict[str, tuple[Callable, Callable]] = {
    SAME: (lambda a: a, lambda a: a),
    TRANSPOSED: (lambda a: _turned(a), lambda a: _turned(a)),
    COLUMN: (lambda a: a.reshape([-1, 1]), lambda a: a[:, 0] if a.shape[1:] == (1,) else a),
}


def _turned(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array


def name_pairs(config: ConvBertConfig, architecture: str) -> dict[str, tuple[str, str]]:
    """Return ``{name here: (name in transformers, form)}`` for every tensor of a model.

    Args:
        config: gives the number of layers and whether the embeddings are projected.
        architecture: a key of ``HEADS``.

    Raises:
        UserError: no such architecture.
    """
    if architecture not in HEADS:
        raise UserError(
            "model-name", f"architecture '{architecture}' is unknown: use one of {', '.join(HEADS)}"
        )
    prefix = "" if architecture == "ConvBertModel" else PREFIX
    pairs = _expand(BODY, prefix)
    if config.embedding_size != config.hidden_size:
        pairs.update(_expand(PROJECTION, prefix))
    for layer in range(config.num_hidden_layers):
        pairs.update(_expand(LAYER, prefix, layer))
    pairs.update(_expand(HEADS[architecture].rows, ""))
    return pairs


def _expand(rows, prefix: str, layer: int = 0) -> dict[str, tuple[str, str]]:
    return {
        (prefix + ours + suffix).format(layer): ((prefix + theirs + suffix).format(layer), form)
        for ours, theirs, kind in rows
        for suffix, form in kind
    }


def to_hf(
    weights: dict[str, np.ndarray], config: ConvBertConfig, architecture: str
) -> dict[str, np.ndarray]:
    """Rename and reshape a whole state dict for transformers.

    Raises:
        UserError: tensors are missing or have no name in transformers (all named).
    """
    pairs = name_pairs(config, architecture)
    missing = [name for name in pairs if name not in weights]
    unknown = [name for name in weights if name not in pairs]
    problems = [f"{kind}: {shorten(names)}" for kind, names in _named(missing, unknown) if names]
    if problems:
        raise UserError("weights", f"not the weights of a {architecture}; {'; '.join(problems)}")
    return {theirs: _FORMS[form][0](weights[ours]) for ours, (theirs, form) in pairs.items()}


def _named(missing: list[str], unknown: list[str]):
    return (("missing", missing), ("unknown", unknown))


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
        raise UserError(
            "checkpoint",
            f"{source} contains adapter weights ({shorten(adapters, 2)}): merge them into the "
            "model and save the result",
        )
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
    config: ConvBertConfig,
    architecture: str,
    hf_config: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Rename and reshape the tensors of a transformers checkpoint.

    Unknown names are kept, so that strict loading reports them.

    Args:
        weights: arrays by name in transformers, the body with or without its prefix.
        config: the model's configuration.
        architecture: a key of ``HEADS``: the model to load the weights into.
        hf_config: the content of ``config.json``.

    Raises:
        UserError: the head differs from ours.
    """
    pairs = name_pairs(config, architecture)
    back = {theirs: (ours, form) for ours, (theirs, form) in pairs.items()}
    # A body may have its prefix or not; strict loading decides which one is right.
    for ours, (theirs, form) in name_pairs(config, "ConvBertModel").items():
        back[theirs] = (ours, form)
        back[PREFIX + theirs] = (PREFIX + ours, form)
    weights = {n: a for n, a in weights.items() if not n.endswith(BUFFERS)}
    _check_head(weights, architecture, hf_config)
    if architecture == "ConvBertGenerator":
        weights.pop(TIED, None)
    found = {}
    for name, array in weights.items():
        ours, form = back.get(name, (name, SAME))
        found[ours] = _FORMS[form][1](array)
    return found


def _check_head(weights: dict[str, np.ndarray], architecture: str, hf_config) -> None:
    head = HEADS[architecture]
    has_head = any(row[1] + suffix in weights for row in head.rows for suffix, _ in row[2])
    for key, value in head.hf_settings.items() if has_head else ():
        if hf_config.get(key) != value:
            raise UserError(
                "checkpoint",
                f"this {head.hf_class} has {key} {hf_config.get(key)!r}: only {value!r} is "
                "supported",
            )
    words = weights.get(PREFIX + WORDS)
    generator = architecture == "ConvBertGenerator" and TIED in weights and words is not None
    if generator and not np.array_equal(weights[TIED], words):
        raise UserError(
            "checkpoint", f"{TIED} differs from {PREFIX + WORDS}: only tied weights are supported"
        )
