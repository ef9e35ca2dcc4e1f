"""The configuration of a ConvBERT and the three published sizes (arXiv 2008.02496)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from paddlenlp.utils.errors import UserError


@dataclass(frozen=True)
class ConvBertConfig:
    """Everything that shapes a ConvBERT; the model's only input.

    Raises:
        UserError: sizes that do not fit together.
    """

    vocab_size: int = 30522
    embedding_size: int = 768  # unlike hidden_size: a projection follows the embeddings
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # before head_ratio divides them: 12 / 2 = 6 remain
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    conv_kernel_size: int = 9
    head_ratio: int = 2
    num_groups: int = 1  # groups of the two feed-forward layers
    num_classes: int = 2
    classifier_dropout: float | None = None  # None: hidden_dropout_prob
    # True: an answer does not depend on which sentences share the batch. False: as the reference,
    # whose padded positions leak into their neighbours through both convolutions.
    mask_padding_in_conv: bool = True

    def __post_init__(self):
        for problem in self._problems():
            raise UserError("configuration", f"model configuration: {problem}")

    def _problems(self):
        hidden, heads, groups = self.hidden_size, self.num_attention_heads, self.num_groups
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            integer = isinstance(value, int) and not isinstance(value, bool)
            if field.type is int and (not integer or value < (field.name != "pad_token_id")):
                yield f"{field.name} must be a positive integer, not {value!r}"
                return
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name} must be in [0, 1), not {getattr(self, name)}"
        if self.head_ratio != 2:
            # The reference computes the head size as hidden / heads * ... for 2 only.
            yield f"head_ratio must be 2, not {self.head_ratio}: no other value is defined upstream"
        if heads % 2:
            yield f"num_attention_heads must be a multiple of head_ratio 2, not {heads}"
        if hidden % heads:
            yield f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        if hidden % groups or self.intermediate_size % groups:
            yield (
                f"num_groups {groups} must divide hidden_size {hidden} and intermediate_size "
                f"{self.intermediate_size}"
            )
        if self.conv_kernel_size % 2 == 0:
            yield f"conv_kernel_size must be odd, not {self.conv_kernel_size}"
        if self.hidden_act not in ACTIVATIONS:
            yield f"hidden_act '{self.hidden_act}' is unknown: one of {', '.join(ACTIVATIONS)}"
        if self.pad_token_id >= self.vocab_size:
            yield f"pad_token_id {self.pad_token_id} is outside the {self.vocab_size} words"

    @property
    def num_heads(self) -> int:
        """N: self-attention heads left after ``head_ratio``; as many convolution heads follow."""
        return self.num_attention_heads // self.head_ratio

    @property
    def head_dim(self) -> int:
        """D: width of one head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "ConvBertConfig":
        """Return a published size; ``overrides`` replace fields.

        Raises:
            UserError: ``name`` is not a published size.
        """
        if name not in PRESETS:
            raise UserError("model-name", f"model '{name}' is unknown: one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    @classmethod
    def from_dict(cls, raw: dict[str, Any], **overrides: Any) -> "ConvBertConfig":
        """Read a configuration in our form, upstream's nested form, or the HF form.

        Upstream nests the body's arguments: ``{"init_args": [{...}], "num_classes": 3, ...}``,
        and arguments given by position follow the body in that list. Keys of other tools that do
        not shape the model are ignored.
        """
        flat = {key: value for key, value in _flatten(raw).items() if value is not None}
        if "id2label" in flat:
            flat.setdefault("num_labels", len(flat["id2label"]))
        for theirs, ours in _ALIASES.items():
            if theirs in flat:
                flat.setdefault(ours, flat[theirs])
        names = {field.name for field in dataclasses.fields(cls)}
        fields = {key: value for key, value in flat.items() if key in names}
        if "num_hidden_layers" not in fields or "hidden_size" not in fields:
            raise UserError(
                "configuration", "the model configuration names no hidden_size or num_hidden_layers"
            )
        return cls(**{**fields, **overrides})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dict (the flat JSON form)."""
        return dataclasses.asdict(self)


def _flatten(raw: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    inner = raw.get("init_args") or []
    inner = list(inner) if isinstance(inner, (list, tuple)) else [inner]
    for name, value in zip(("body", "num_classes", "dropout"), inner):
        flat.update(_flatten(value) if isinstance(value, dict) else {name: value})
    flat.update({key: value for key, value in raw.items() if key != "init_args"})
    return flat


# Names of transformers and of upstream's heads for fields of ours.
_ALIASES = {"num_labels": "num_classes", "dropout": "classifier_dropout"}

ACTIVATIONS: list[str] = ["gelu", "relu", "tanh"]

_PRESET_COLUMNS = (
    "hidden_size",
    "embedding_size",
    "num_attention_heads",
    "intermediate_size",
    "num_groups",
)
PRESETS: dict[str, dict[str, int]] = {
    name: dict(zip(_PRESET_COLUMNS, sizes))
    for name, sizes in {
        "convbert-base": (768, 768, 12, 3072, 1),
        "convbert-medium-small": (384, 128, 8, 1536, 2),
        "convbert-small": (256, 128, 4, 1024, 1),
    }.items()
}
