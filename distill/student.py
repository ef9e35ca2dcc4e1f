"""A small ConvBERT whose first weights come from a frozen BERT of the same width.

Of the teacher's N heads in each layer half become the student's attention heads. The other half
are those that a convolution imitates best; each starts as a fixed convolution whose taps are the
head's average attention by distance, and whose value projection is fitted by least squares. The
feed-forward layers, the output projection and the norms are copied. The wide word table becomes a
narrow one and a projection: first by a singular value decomposition, then fitted.

Shapes: B batch, L length, H hidden, E embedding, N teacher heads, D head dimension, K kernel size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

from distill.bert import LAYER, FrozenBert
from paddlenlp.transformers import ConvBertConfig, ConvBertModel

KERNEL_SIZE = 9
RIDGE = 1e-3  # of the mean diagonal, so that rare directions of the fit stay small
SMALLEST_TAP = 1e-4
SHORT_TEXT = 128  # most drawn positions are below
FIRST_WORD = 999  # BERT's vocabulary lists words by frequency from about here on


def student_config(teacher: FrozenBert, embedding_size: int) -> ConvBertConfig:
    """The teacher's shape with half the heads as convolutions and a narrower word table."""
    theirs = teacher.config
    return ConvBertConfig(
        vocab_size=theirs["vocab_size"],
        embedding_size=embedding_size,
        hidden_size=theirs["hidden_size"],
        num_hidden_layers=theirs["num_hidden_layers"],
        num_attention_heads=theirs["num_attention_heads"],
        intermediate_size=theirs["intermediate_size"],
        max_position_embeddings=theirs["max_position_embeddings"],
        conv_kernel_size=KERNEL_SIZE,
    )


# ---- embeddings


def factorise_embeddings(teacher: FrozenBert, student: ConvBertModel) -> None:
    """Start the narrow embeddings from the singular vectors of the teacher's, each word at 1."""
    size, words = student.config.embedding_size, student.config.vocab_size
    ids = paddle.arange(words, dtype="int64").unsqueeze(-1)
    wide = teacher.embed(ids, position_ids=paddle.ones_like(ids)).squeeze(1).numpy()  # [V, H]
    mean = wide.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((wide - mean).T))
    top = np.argsort(-values)[:size]
    scale, directions = np.sqrt(values[top]), vectors[:, top]  # [E], [H, E]
    # Columns of unit variance nearly pass the norm unchanged; its weight gives the scale back.
    narrow = (wide - mean) @ directions / scale  # [V, E]
    set_weights(
        student,
        {
            "embeddings.word_embeddings.weight": narrow,
            "embeddings.position_embeddings.weight": np.zeros(
                [student.config.max_position_embeddings, size]
            ),
            "embeddings.token_type_embeddings.weight": np.zeros(
                [student.config.type_vocab_size, size]
            ),
            "embeddings.layer_norm.weight": scale,
            "embeddings.layer_norm.bias": np.zeros(size),
            "embeddings_project.weight": directions.T,
            "embeddings_project.bias": mean,
        },
    )


def fit_embeddings(
    teacher: FrozenBert,
    student: ConvBertModel,
    steps: int,
    seed: int,
    batch_size: int = 2048,
    learning_rate: float = 3e-3,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Fit the narrow embeddings to the teacher's at drawn words, positions and types.

    Returns:
        Mean squared error over the last tenth of the steps; the teacher's elements have a
        variance of about 1 before the weight of its norm.
    """
    random = np.random.default_rng(seed)
    parts = [student.embeddings, student.embeddings_project]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    schedule = paddle.optimizer.lr.PolynomialDecay(learning_rate, steps, end_lr=0.0)
    optimizer = paddle.optimizer.Adam(schedule, parameters=parameters)
    student.eval()
    losses: list[float] = []
    for step in range(1, steps + 1):
        ids = draw_ids(random, student.config, batch_size)
        narrow = student.embeddings_project(student.embeddings(*ids))
        loss = F.mse_loss(narrow, teacher.embed(*ids))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        losses.append(float(loss))
        report(step, losses[-1])
    return float(np.mean(losses[-max(1, steps // 10) :]))


def draw_ids(
    random: np.random.Generator, config: ConvBertConfig, size: int
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Words, token types and positions, each [1, size] int64.

    Half of the words are drawn evenly, half by rank as in Zipf's law; nine of ten positions are in
    the first 128, nine of ten types are 0.
    """
    words = config.vocab_size
    first = min(FIRST_WORD, words - 1)
    by_rank = first + np.exp(random.random(size) * np.log(words - first)).astype(np.int64) - 1
    drawn = np.where(random.random(size) < 0.5, by_rank, random.integers(0, words, size))
    longest = config.max_position_embeddings
    limit = np.where(random.random(size) < 0.9, min(SHORT_TEXT, longest), longest)
    positions = (random.random(size) * limit).astype(np.int64)
    types = (random.random(size) < 0.1).astype(np.int64)
    return tuple(paddle.to_tensor(ids[None].astype(np.int64)) for ids in (drawn, types, positions))


# ---- layers


@dataclass
class HeadFit:
    """One teacher head seen as a convolution.

    Attributes:
        taps: [K] float, non-negative, sum 1.
        weight: [H, D] float; bias: [D] float: the value projection before the taps.
        error: mean squared error that the replacement adds to the layer's output projection.
    """

    taps: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    error: float


def fit_layers(
    teacher: FrozenBert, student: ConvBertModel, batches: Iterable[np.ndarray]
) -> list[list[int]]:
    """Fill every encoder layer; ``batches`` are ids [B, L] of texts without padding.

    Returns:
        For each layer, the teacher heads that became convolutions.
    """
    inputs = [paddle.to_tensor(ids.astype(np.int64)) for ids in batches]
    states = [teacher.embed(ids) for ids in inputs]
    bias = paddle.zeros([1, 1, 1, 1])
    convolutions = []
    for layer in range(teacher.num_layers):
        outputs, attentions = zip(*(teacher.layer(layer, x, bias) for x in states), strict=True)
        heads = [
            fit_head(teacher, layer, head, states, attentions) for head in range(teacher.num_heads)
        ]
        order = np.argsort([head.error for head in heads], kind="stable")
        chosen = sorted(int(head) for head in order[: student.config.num_heads])
        set_weights(student, layer_weights(teacher, layer, heads, chosen))
        convolutions.append(chosen)
        states = list(outputs)
    return convolutions


def fit_head(teacher: FrozenBert, layer: int, head: int, states, attentions) -> HeadFit:
    """Fit the taps, then the value projection, of one head over all batches."""
    probabilities = [a.probabilities[:, head].numpy() for a in attentions]  # [B, L, L]
    values = [a.values[:, head].numpy() for a in attentions]  # [B, L, D]
    taps = average_taps(probabilities)
    seen = [windowed(x.numpy(), taps) for x in states]  # [B, L, H]
    edges = [windowed(np.ones([*x.shape[:2], 1], np.float32), taps) for x in states]
    inputs = np.concatenate(
        [np.concatenate([s, e], -1).reshape(-1, s.shape[-1] + 1) for s, e in zip(seen, edges)]
    )  # [R, H + 1]; a bias also passes the taps, and loses those beyond the ends
    wanted = np.concatenate(
        [(p @ v).reshape(-1, v.shape[-1]) for p, v in zip(probabilities, values)]
    )
    solution = ridge(inputs, wanted)  # [H + 1, D]
    dim = wanted.shape[-1]
    output = teacher.weights[LAYER.format(layer) + "attention.output.dense.weight"]  # [H, N * D]
    missed = (inputs @ solution - wanted) @ output[:, head * dim : (head + 1) * dim].T
    return HeadFit(taps, solution[:-1], solution[-1], float(np.mean(missed**2)))


def average_taps(probabilities: list[np.ndarray]) -> np.ndarray:
    """Mean attention at distances -K//2 .. K//2 of maps [B, L, L], scaled to sum 1: [K]."""
    half = KERNEL_SIZE // 2
    sums, counts = np.zeros(KERNEL_SIZE), np.zeros(KERNEL_SIZE)
    for maps in probabilities:
        for tap in range(KERNEL_SIZE):
            diagonal = np.diagonal(maps, tap - half, axis1=1, axis2=2)
            sums[tap] += diagonal.sum()
            counts[tap] += diagonal.size
    means = np.maximum(sums / np.maximum(counts, 1), SMALLEST_TAP)
    return (means / means.sum()).astype(np.float32)


def windowed(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """``out[b, l] = sum_k taps[k] * x[b, l + k - K // 2]``, zeros beyond both ends; x [B, L, H]."""
    half, length = len(taps) // 2, x.shape[1]
    padded = np.pad(x, [(0, 0), (half, half), (0, 0)])
    return sum(tap * padded[:, k : k + length] for k, tap in enumerate(taps))


def ridge(inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares ``inputs @ solution = wanted`` with a small penalty on the solution."""
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, inputs.T @ wanted)


def layer_weights(
    teacher: FrozenBert, layer: int, heads: list[HeadFit], convolutions: list[int]
) -> dict[str, np.ndarray]:
    """The tensors of one student layer, by their names in `ConvBertModel`."""
    theirs, ours = LAYER.format(layer), f"encoder.layers.{layer}."
    attentions = [head for head in range(len(heads)) if head not in convolutions]
    dim = heads[0].bias.size
    kept, replaced = _columns(attentions, dim), _columns(convolutions, dim)

    def read(name: str) -> np.ndarray:
        return teacher.weights[theirs + name]

    weights = {}
    for name, part in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        weights[f"self_attn.{name}.weight"] = read(f"attention.self.{part}.weight")[kept].T
        weights[f"self_attn.{name}.bias"] = read(f"attention.self.{part}.bias")[kept]
    for name, part in (
        ("norm1", "attention.output.LayerNorm"),
        ("norm2", "output.LayerNorm"),
    ):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            read(f"{part}.weight"),
            read(f"{part}.bias"),
        )
    for name, part in (("linear1", "intermediate.dense"), ("linear2", "output.dense")):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            read(f"{part}.weight").T,
            read(f"{part}.bias"),
        )
    # The student's output projection sees its attention heads first, then its convolutions.
    weights["self_attn.out_proj.weight"] = read("attention.output.dense.weight").T[kept + replaced]
    weights["self_attn.out_proj.bias"] = read("attention.output.dense.bias")
    chosen = [heads[head] for head in convolutions]
    weights["self_attn.conv_out_layer.weight"] = np.concatenate([h.weight for h in chosen], 1)
    weights["self_attn.conv_out_layer.bias"] = np.concatenate([h.bias for h in chosen])
    weights.update(_kernel_weights(read, chosen, replaced))
    return {ours + name: array for name, array in weights.items()}


def _kernel_weights(read, chosen: list[HeadFit], replaced: list[int]) -> dict[str, np.ndarray]:
    """Start from fixed taps: the part that depends on the words has weight 0 but live inputs."""
    keys = read("attention.self.key.weight")[replaced]  # [N / 2 * D, H]
    hidden, taps = keys.shape[1], np.concatenate([np.log(head.taps) for head in chosen])
    depthwise = np.zeros([hidden, 1, KERNEL_SIZE])
    depthwise[:, :, KERNEL_SIZE // 2] = 1.0
    return {
        "self_attn.key_conv_attn_layer.depthwise.weight": depthwise,
        "self_attn.key_conv_attn_layer.pointwise.weight": keys[:, :, None],
        "self_attn.key_conv_attn_layer.bias": read("attention.self.key.bias")[replaced],
        "self_attn.conv_kernel_layer.weight": np.zeros([len(keys), taps.size]),
        "self_attn.conv_kernel_layer.bias": taps,
    }


def _columns(heads: list[int], dim: int) -> list[int]:
    return [head * dim + column for head in heads for column in range(dim)]


def set_weights(student: ConvBertModel, weights: dict[str, np.ndarray]) -> None:
    """Set parameters by name.

    Raises:
        ValueError: no such parameter, or one of another shape.
    """
    parameters = dict(student.named_parameters())
    for name, array in weights.items():
        if name not in parameters or list(parameters[name].shape) != list(array.shape):
            raise ValueError(f"no parameter '{name}' of shape {list(array.shape)}")
        parameters[name].set_value(np.ascontiguousarray(array, dtype=np.float32))
