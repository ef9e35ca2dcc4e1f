"""The configuration of a ConvBERT and the three published sizes (arXiv 2008.02496)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from paddlenlp.transformers.labels import read_label_names
from paddlenlp.utils.errors import UserError


@dataclass(frozen=True)
class ConvBertConfig:
    """All settings of a ConvBERT model.

    Raises:
        UserError: a value has a wrong type or is out of range, or sizes do not fit together.
    """

    vocab_size: int = 30522
    embedding_size: int = 768  # if it differs from hidden_size, the embeddings are projected
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
    # True: an answer does not depend on the other sentences of its batch. False: as in the
    # reference, where padded positions leak into their neighbours through both convolutions.
    mask_padding_in_conv: bool = True

    def __post_init__(self):
        for problem in self._problems():
            raise UserError("configuration", f"model configuration: {problem}")

    def _problems(self):
        for field in dataclasses.fields(self):
            yield from _wrong_value(field, getattr(self, field.name))
        hidden, inner, heads = self.hidden_size, self.intermediate_size, self.num_attention_heads
        groups, kernel, ratio = self.num_groups, self.conv_kernel_size, self.head_ratio
        rules = {  # what is wrong -> whether it is
            # No other value is defined: the reference is correct only for 2 (transformers#21523).
            f"head_ratio must be 2, not {ratio}": ratio != 2,
            f"num_attention_heads must be a multiple of 2, not {heads}": heads % 2,
            f"num_attention_heads {heads} must divide hidden_size {hidden}": hidden % heads,
            f"num_groups {groups} must divide hidden_size {hidden}": hidden % groups,
            f"num_groups {groups} must divide intermediate_size {inner}": inner % groups,
            f"conv_kernel_size must be odd, not {kernel}": kernel % 2 == 0,
            f"hidden_act must be one of {ACTIVATIONS}": self.hidden_act not in ACTIVATIONS,
            f"pad_token_id must be below vocab_size {self.vocab_size}": (
                self.pad_token_id >= self.vocab_size
            ),
        }
        yield from (problem for problem, is_wrong in rules.items() if is_wrong)

    @property
    def num_heads(self) -> int:
        """N: self-attention heads left after ``head_ratio``; as many convolution heads follow."""
        return self.num_attention_heads // self.head_ratio

    @property
    def head_dim(self) -> int:
        """D: width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def parameter_count(self) -> int:
        """Number of parameters of a classifier with this configuration."""
        vocab, hidden, inner = self.vocab_size, self.hidden_size, self.intermediate_size
        embedding, width = self.embedding_size, self.num_heads * self.head_dim
        rows = vocab + self.max_position_embeddings + self.type_vocab_size + 2
        project = (embedding + 1) * hidden if embedding != hidden else 0
        taps = self.num_heads * self.conv_kernel_size
        attention = 4 * (hidden + 1) * width + (2 * width + 1) * hidden
        convolution = hidden * self.conv_kernel_size + (hidden + 1) * width + (width + 1) * taps
        feed_forward = 2 * hidden * inner // self.num_groups + inner + hidden
        layer = attention + convolution + feed_forward + 4 * hidden
        head = (hidden + 1) * (hidden + self.num_classes)
        return rows * embedding + project + self.num_hidden_layers * layer + head

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "ConvBertConfig":
        """Return a published size; ``overrides`` replace fields.

        Raises:
            UserError: ``name`` is not a published size.
        """
        if name not in PRESETS:
            names = ", ".join(PRESETS)
            raise UserError("model-name", f"model '{name}' is unknown: use one of {names}")
        return cls(**{**PRESETS[name], **overrides})

    @classmethod
    def from_dict(
        cls, raw: dict[str, Any], where: str = "model configuration", **overrides: Any
    ) -> "ConvBertConfig":
        """Read a configuration in our format, PaddleNLP's old or new one, or transformers'.

        Old PaddleNLP nests the body's arguments: ``{"init_args": [{...}], "num_classes": 3, ...}``,
        and positional arguments follow the body in that list. Keys that do not change the answer
        are ignored.

        Args:
            raw: the JSON object.
            where: its file, for messages.
            overrides: fields that replace those of ``raw``.

        Raises:
            UserError: a value cannot be used, keys contradict each other, or a key that changes the
                answer has a value that is not supported.
        """
        flat = {key: value for key, value in _flatten(raw).items() if value is not None}
        names = read_label_names(flat, where)
        if names:
            flat["id2label"] = len(names)
        _merge(flat, ("num_classes", "num_labels", "id2label"), where)
        _merge(flat, ("classifier_dropout", "dropout"), where)
        fields = {f.name: flat[f.name] for f in dataclasses.fields(cls) if f.name in flat}
        if "num_hidden_layers" not in fields or "hidden_size" not in fields:
            raise UserError("configuration", f"{where} has no hidden_size or no num_hidden_layers")
        _check_supported(flat, where, is_new_head="num_classes" in overrides)
        try:
            return cls(**{**fields, **overrides})
        except UserError as error:
            message = str(error).replace("model configuration", where, 1)
            raise UserError("configuration", message) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dict (the flat JSON form)."""
        return dataclasses.asdict(self)


ACTIVATIONS: list[str] = ["gelu", "relu", "tanh"]

# field -> (lowest, highest); other integers are from 1 to _MOST
_MOST = 1 << 24
_RANGES: dict[str, tuple[float, float]] = {
    "pad_token_id": (0, _MOST),
    "num_hidden_layers": (1, 1000),
    "hidden_dropout_prob": (0.0, 0.999),
    "attention_probs_dropout_prob": (0.0, 0.999),
    "classifier_dropout": (0.0, 0.999),
    "initializer_range": (0.0, 100.0),
    "layer_norm_eps": (1e-38, 1.0),
}


def _wrong_value(field: dataclasses.Field, value: Any):
    """Yield the error of one field's value, if any."""
    if field.type in (bool, str):
        if not isinstance(value, field.type):
            yield f"{field.name} must be of type {field.type.__name__}, not {value!r}"
    elif value is not None or field.default is not None:
        kind = int if field.type is int else (int, float)
        low, high = _RANGES.get(field.name, (1, _MOST))
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # false for NaN
            name = "an integer" if kind is int else "a number"
            yield f"{field.name} must be {name} from {low} to {high}, not {value!r}"


# Keys of transformers and PaddleNLP that change the answer -> the only value that is supported.
# Keys that are not listed do not change it.
_SUPPORTED: dict[str, Any] = {
    "add_cross_attention": False,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "position_embedding_type": "absolute",
    "pruned_heads": None,
    "quantization_config": None,
    "use_relative_position": False,
}


def _check_supported(flat: dict[str, Any], where: str, is_new_head: bool) -> None:
    supported = dict(_SUPPORTED)
    classes = flat.get("num_classes", 2)
    if not is_new_head:  # one class means regression, and several are mutually exclusive (softmax)
        supported["problem_type"] = "regression" if classes == 1 else "single_label_classification"
    for key, value in supported.items():
        found = flat.get(key) or value  # false and empty values are the defaults
        if found != value:
            condition = f" with {classes} classes" if key == "problem_type" else ""
            message = f"{key} is {found!r}, only {value!r} is supported{condition}"
            raise UserError("configuration", f"{where}: {message}")


def _merge(flat: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    """Set the first of several names of one field, whose values must agree."""
    given = [(name, flat[name]) for name in names if name in flat]
    for name, value in given:
        if value != given[0][1]:
            raise UserError(
                "configuration",
                f"{where}: {given[0][0]} gives {given[0][1]!r}, but {name} gives {value!r}",
            )
        flat[names[0]] = value


def _flatten(raw: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    inner = raw.get("init_args") or []
    inner = list(inner) if isinstance(inner, (list, tuple)) else [inner]
    for name, value in zip(("body", "num_classes", "dropout"), inner):
        flat.update(_flatten(value) if isinstance(value, dict) else {name: value})
    flat.update({key: value for key, value in raw.items() if key != "init_args"})
    return flat


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
