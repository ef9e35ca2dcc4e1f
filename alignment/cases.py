"""The inputs of both sides: sizes, random weights, batches. Needs only NumPy, no framework.

All numbers come from ``numpy.random.RandomState`` with seeds derived from names. They are the same
on every platform and NumPy version, so both sides can generate them independently. Shapes: B batch,
L length, C classes, M choices.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIZES = ("convbert-small", "convbert-medium-small", "convbert-base")  # smallest first
BATCHES = (1, 3, 8)
LENGTHS = (1, 2, 8, 9, 17, 128, 511, 512)
FORMS = ("plain", "padded", "pairs")  # pairs: two token types, padded as well
# Shapes at which the gradients of all parameters are compared, at full depth.
GRADIENT_SHAPES = ((1, 1), (3, 9), (8, 17), (3, 128), (1, 512))
PAD, CLASSES, CHOICES = 0, 3, 3
IGNORED = -100  # label of a token that is ignored
GAIN = 0.5  # standard deviation times sqrt(inputs); the usual 0.02 gives 0.55 in convbert-base


@dataclass(frozen=True)
class Case:
    """One batch: its shape and its kind of content."""

    batch: int
    length: int
    form: str

    @property
    def name(self) -> str:
        """File name and label of the case."""
        return f"b{self.batch}_l{self.length}_{self.form}"

    def random(self, what: str) -> np.random.RandomState:
        """A generator for one purpose, with the same numbers in every process."""
        return random_state(f"{self.name}/{what}")

    def inputs(self, vocab_size: int) -> dict[str, np.ndarray]:
        """Return input_ids, token_type_ids, attention_mask, each [B, L] int64."""
        ids = self.random("ids").randint(1, vocab_size, (self.batch, self.length))
        columns = np.arange(self.length)
        lengths = np.full(self.batch, self.length)
        if self.form != "plain":  # rows have different amounts of padding and at least one token
            lengths = np.maximum(1, self.length - self.length * (1 + np.arange(self.batch)) // 11)
        mask = (columns < lengths[:, None]).astype(np.int64)
        types = np.zeros_like(ids)
        if self.form == "pairs":
            types = (columns >= lengths[:, None] // 2).astype(np.int64) * mask
        return {
            "input_ids": (ids * mask).astype(np.int64),
            "token_type_ids": types,
            "attention_mask": mask,
        }

    def labels(self, classes: int) -> np.ndarray:
        """Class labels [B] int64."""
        return self.random("labels").randint(0, classes, self.batch).astype(np.int64)


def random_state(name: str) -> np.random.RandomState:
    """Return a random generator for a name."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def forward_cases(quick: bool = False) -> list[Case]:
    """The grid of the forward pass: batches x lengths x forms."""
    batches, lengths = ((3,), (1, 9, 17)) if quick else (BATCHES, LENGTHS)
    return [Case(b, n, form) for b in batches for n in lengths for form in FORMS]


def gradient_cases(quick: bool = False) -> list[Case]:
    """The grid of the backward pass."""
    shapes = ((3, 9),) if quick else GRADIENT_SHAPES
    return [Case(batch, length, "pairs") for batch, length in shapes]


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return reproducible random weights for tensors with these names in transformers and shapes.

    The usual initialization (biases 0, gains 1, standard deviation 0.02 in every size) would hide
    mistakes: a swapped bias or gain would change nothing, and the outputs of the small sizes would
    hardly vary. Here biases and gains are random, and every matrix is scaled as 0.02 scales the
    largest size. Larger weights (GAIN 1) would exceed the precision of float32: transformers'
    gradients would then differ by up to 1e-4 from its own in float64.
    """
    return {name: _random_tensor(name, shape) for name, shape in shapes.items()}


def _random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = random_state(name).standard_normal(int(np.prod(shape))).reshape(shape)
    if name.endswith("LayerNorm.weight"):
        numbers = 1.0 + 0.1 * numbers
    elif name.endswith("bias"):
        numbers = 0.1 * numbers
    elif "embeddings." in name:
        numbers = 0.05 * numbers
    else:
        numbers = GAIN * numbers / math.sqrt(_fan_in(shape))
    return numbers.astype(np.float32)


def _fan_in(shape: tuple[int, ...]) -> int:
    """Return inputs per output of a linear [out, in], filter [out, in, K], grouped [G, in, out]."""
    if len(shape) == 3 and shape[1] > shape[0]:  # grouped linear: few groups, many inputs
        return shape[1]
    return int(np.prod(shape[1:]))


@dataclass(frozen=True)
class HeadCase:
    """One head: our class, the number of classes, and its batch."""

    architecture: str
    classes: int = CLASSES
    case: Case = Case(3, 17, "pairs")

    @property
    def name(self) -> str:
        """File name and label."""
        return f"{self.architecture}_{self.classes}"

    def inputs(self, vocab_size: int) -> dict[str, np.ndarray]:
        """Return the batch; multiple choice has arrays [B, M, L], B questions of M choices."""
        inputs = self.case.inputs(vocab_size)
        if self.architecture != "ConvBertForMultipleChoice":
            return inputs
        return {
            name: array.reshape(-1, CHOICES, self.case.length) for name, array in inputs.items()
        }

    def labels(self, vocab_size: int) -> dict[str, np.ndarray]:
        """Return the labels for the loss of this head, by transformers' argument names."""
        random, inputs = self.case.random(self.name), self.case.inputs(vocab_size)
        shape, mask = inputs["input_ids"].shape, inputs["attention_mask"]
        kind = self.architecture.removeprefix("ConvBert").removeprefix("For")
        if kind == "QuestionAnswering":
            names = ("start_positions", "end_positions")
            return {name: random.randint(0, shape[1] // 2, shape[0]) for name in names}
        if kind == "MultipleChoice":
            labels = random.randint(0, CHOICES, shape[0] // CHOICES)
        elif kind == "SequenceClassification" and self.classes == 1:
            labels = random.standard_normal(shape[0]).astype(np.float32)
        elif kind == "SequenceClassification":
            labels = random.randint(0, self.classes, shape[0])
        elif kind == "Discriminator":
            labels = random.randint(0, 2, shape) * mask
        else:
            labels = random.randint(0, vocab_size if kind == "Generator" else self.classes, shape)
            labels[(mask == 0) | (random.random_sample(shape) < 0.5)] = IGNORED
        return {"labels": labels}


HEAD_CASES = (
    HeadCase("ConvBertForSequenceClassification", 2),
    HeadCase("ConvBertForSequenceClassification", 3),
    HeadCase("ConvBertForSequenceClassification", 1),
    HeadCase("ConvBertForTokenClassification"),
    HeadCase("ConvBertForQuestionAnswering", 2),
    HeadCase("ConvBertForMultipleChoice", 2, Case(6, 17, "pairs")),
    HeadCase("ConvBertGenerator", 2),
    HeadCase("ConvBertDiscriminator", 2),
)

# The 20 steps of the training comparison.
TRAINING = {
    "steps": 20,
    "batch": 16,
    "learning_rate": 1e-4,
    "warmup_steps": 4,
    "layer_lr_decay": 0.8,
    "weight_decay": 1.0,  # so large that decay of a wrong tensor exceeds the bound
    "epsilon": 1e-6,
}


def training_steps(batches: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the batch of each step from the arrays that `run.training_batches` makes."""
    for step in range(TRAINING["steps"]):
        names = ("input_ids", "token_type_ids", "labels")
        yield {name: batches[f"{name}_{step}"] for name in names}


def metric_inputs() -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield (kind, metric, predictions, labels): logits [n, C] and classes; scores [n, 1] and
    targets."""
    for classes, names in ((2, ("acc", "f1", "mcc")), (3, ("acc",))):
        random = random_state(f"metric/{classes}")
        labels = random.randint(0, classes, 872)
        logits = random.standard_normal((872, classes))
        logits[np.arange(872), labels] += 1.0
        for name in names:
            yield f"classes_{classes}", name, logits.astype(np.float32), labels.astype(np.int64)
    random = random_state("metric/scores")
    targets = (random.randint(0, 26, 1500) / 5.0).astype(np.float32)  # many ties, as in STS-B
    scores = np.round(targets + random.standard_normal(1500), 1).astype(np.float32)
    for name in ("pearson", "spearman"):
        yield "scores", name, scores[:, None], targets
