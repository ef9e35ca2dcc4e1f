"""The first weights of a small ConvBERT, from a frozen BERT of the same width.

Of the teacher's N heads in each layer half become the student's attention heads. The other half
are those that a convolution imitates best; each starts as a fixed convolution whose taps are the
head's average attention by distance, and whose value projection is fitted by least squares. The
feed-forward layers, the output projection and the norms are copied. The wide word table becomes a
narrow one and a projection: first by a singular value decomposition, then fitted.

Shapes: B batch, L length, H hidden, E embedding, N teacher heads, D head dimension, K kernel size.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from convbert.training.data import EncodedSplit
from distill.bert import BertAttention
from paddlenlp.transformers import ConvBertConfig, ConvBertModel
from paddlenlp.transformers.convbert.layers import Shared, split_heads

KERNEL_SIZE = ConvBertConfig.conv_kernel_size
EMBEDDING_SHARE = 3  # the student's word vectors have a third of the teacher's width
NO_PADDING = Shared(None, None, None)
BATCH = 64
FEWEST_ALIKE = 16  # texts of one length that are worth a batch
SHORTEST = 8  # tokens; shorter texts say little about attention at a distance
RIDGE = 1e-3  # of the mean diagonal, so that rare directions of the fit stay small
SMALLEST_TAP = 1e-4

FIT_STEPS = 2000
FIT_BATCH = 2048
FIT_LEARNING_RATE = 3e-3
REPORT_EVERY = 200
SHORT_TEXT = 128  # most drawn positions are below
FIRST_WORD = 999  # BERT's vocabulary lists words by frequency from about here on


def first_student(teacher: ConvBertModel, batches: Sequence[np.ndarray]) -> ConvBertModel:
    """Make the student; prints which heads became convolutions.

    Args:
        teacher: from `read_bert`.
        batches: ids [B, L] int64 of texts without padding.
    """
    size = teacher.config.hidden_size // EMBEDDING_SHARE
    student = ConvBertModel(dataclasses.replace(teacher.config, embedding_size=size))
    weights = {**first_embeddings(teacher, size), **first_layers(teacher, batches)}
    student.load_weights({name: np.float32(array) for name, array in weights.items()}, "teacher")
    student.eval()
    return student


def batches_of_equal_length(split: EncodedSplit, indices: Sequence[int]) -> list[np.ndarray]:
    """One batch of at most `BATCH` texts, ids [B, L], for each length that is common."""
    lengths, by_length = split.lengths, defaultdict(list)
    for index in indices:
        by_length[lengths[index]].append(index)
    return [
        split.batch(alike[:BATCH])[0]
        for length, alike in sorted(by_length.items())
        if length >= SHORTEST and len(alike) >= FEWEST_ALIKE
    ]


# ---- embeddings


def first_embeddings(teacher: ConvBertModel, size: int) -> dict[str, np.ndarray]:
    """Narrow embeddings from the singular vectors of the teacher's words, each at position 1."""
    config = teacher.config
    words = paddle.arange(config.vocab_size, dtype="int64").unsqueeze(-1)
    ones = paddle.ones_like(words)
    wide = teacher.embeddings(words, paddle.zeros_like(words), ones).squeeze(1).numpy()  # [V, H]
    mean = wide.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((wide - mean).T))
    top = np.argsort(-values)[:size]
    scale, directions = np.sqrt(values[top]), vectors[:, top]  # [E], [H, E]
    return {
        # Columns of unit variance nearly pass the norm unchanged; its weight gives the scale back.
        "embeddings.word_embeddings.weight": (wide - mean) @ directions / scale,
        "embeddings.position_embeddings.weight": np.zeros([config.max_position_embeddings, size]),
        "embeddings.token_type_embeddings.weight": np.zeros([config.type_vocab_size, size]),
        "embeddings.layer_norm.weight": scale,
        "embeddings.layer_norm.bias": np.zeros(size),
        "embeddings_project.weight": directions.T,
        "embeddings_project.bias": mean,
    }


def fit_embeddings(teacher: ConvBertModel, student: ConvBertModel, seed: int) -> list[float]:
    """Fit the narrow embeddings to the teacher's at drawn words, positions and types.

    Returns:
        Mean squared error of each step; the teacher's elements have a variance of about 1 before
        the weight of its norm.
    """
    random = np.random.default_rng(seed)
    parameters = [*student.embeddings.parameters(), *student.embeddings_project.parameters()]
    schedule = paddle.optimizer.lr.PolynomialDecay(FIT_LEARNING_RATE, FIT_STEPS, end_lr=0.0)
    optimizer = paddle.optimizer.Adam(schedule, parameters=parameters)
    losses: list[float] = []
    for step in range(1, FIT_STEPS + 1):
        ids = draw_ids(random, student.config)
        narrow = student.embeddings_project(student.embeddings(*ids))
        loss = F.mse_loss(narrow, teacher.embeddings(*ids))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        losses.append(float(loss))
        if step % REPORT_EVERY == 0:
            print(f"embeddings: step {step} mean squared error {losses[-1]:.4f}", flush=True)
    print(f"embeddings: mean squared error {np.mean(losses[-FIT_STEPS // 10 :]):.4f}")
    return losses


def draw_ids(
    random: np.random.Generator, config: ConvBertConfig
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Words, token types and positions, each [1, FIT_BATCH] int64.

    Half of the words are drawn evenly, half by rank as in Zipf's law; nine of ten positions are in
    the first 128, nine of ten types are 0.
    """
    size, words, longest = FIT_BATCH, config.vocab_size, config.max_position_embeddings
    first = min(FIRST_WORD, words - 1)
    by_rank = first + np.exp(random.random(size) * np.log(words - first)).astype(np.int64) - 1
    drawn = np.where(random.random(size) < 0.5, by_rank, random.integers(0, words, size))
    limit = np.where(random.random(size) < 0.9, min(SHORT_TEXT, longest), longest)
    positions = random.random(size) * limit
    types = random.random(size) < 0.1
    return tuple(paddle.to_tensor(ids[None].astype(np.int64)) for ids in (drawn, types, positions))


# ---- layers


class HeadFit(NamedTuple):
    """The convolution that imitates one head of the teacher.

    Attributes:
        taps: [K] float, non-negative, sum 1.
        weight: [H, D] float; bias: [D] float: the value projection before the taps.
        error: mean squared error that the replacement adds to the layer's output projection.
    """

    taps: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    error: float


def first_layers(teacher: ConvBertModel, batches: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of the encoder; prints which heads became convolutions."""
    states = [
        teacher.embeddings(ids, paddle.zeros_like(ids)) for ids in map(paddle.to_tensor, batches)
    ]
    weights = {}
    for number, layer in enumerate(teacher.encoder.layers):
        heads = fit_heads(layer.self_attn, states)
        order = np.argsort([head.error for head in heads], kind="stable")
        chosen = sorted(order[: teacher.config.num_heads].tolist())
        print(f"layer {number}: heads {chosen} of the teacher became convolutions", flush=True)
        for name, array in layer_weights(layer, heads, chosen).items():
            weights[f"encoder.layers.{number}.{name}"] = array
        states = [layer(x, NO_PADDING) for x in states]
    return weights


def fit_heads(attention: BertAttention, states: list[paddle.Tensor]) -> list[HeadFit]:
    """Fit every head of a layer on its inputs, each [B, L, H]."""
    maps, values = zip(*(attend(attention, x) for x in states))
    # A bias also passes the taps, and loses those beyond the ends: a column of ones.
    inputs = [np.pad(x.numpy(), [(0, 0), (0, 0), (0, 1)], constant_values=1) for x in states]
    outputs = np.split(attention.out_proj.weight.numpy(), attention.num_heads)  # [D, H] each
    return [
        fit_head([m[:, head] for m in maps], [v[:, head] for v in values], inputs, output)
        for head, output in enumerate(outputs)
    ]


def attend(attention: BertAttention, x: paddle.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The attention [B, N, L, L] and the values [B, N, L, D] of a layer for x [B, L, H]."""
    query, key, value = (
        split_heads(projection(x), attention.num_heads)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = paddle.matmul(query * attention.head_dim**-0.5, key, transpose_y=True)
    return F.softmax(scores).numpy(), value.numpy()


def fit_head(
    maps: list[np.ndarray], values: list[np.ndarray], inputs: list[np.ndarray], output: np.ndarray
) -> HeadFit:
    """Fit the taps, then the value projection, of one head over all batches.

    Args:
        maps: its attention, [B, L, L] each.
        values: its values, [B, L, D] each.
        inputs: the layer's input and a column of ones, [B, L, H + 1] each.
        output: its part of the output projection, [D, H].
    """
    taps = average_taps(maps)
    seen = rows([windowed(x, taps) for x in inputs])  # [R, H + 1]
    wanted = rows([m @ v for m, v in zip(maps, values)])  # [R, D]
    # Least squares with a small penalty on the solution.
    gram = seen.T @ seen
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    solution = np.linalg.solve(gram, seen.T @ wanted)  # [H + 1, D]
    missed = (seen @ solution - wanted) @ output
    return HeadFit(taps, solution[:-1], solution[-1], float(np.mean(missed**2)))


def average_taps(maps: list[np.ndarray]) -> np.ndarray:
    """Mean attention at distances -K//2 .. K//2 of maps [B, L, L], scaled to sum 1: [K]."""
    half, means = KERNEL_SIZE // 2, []
    for offset in range(-half, half + 1):
        diagonals = [np.diagonal(m, offset, axis1=1, axis2=2).ravel() for m in maps]
        means.append(np.concatenate(diagonals).mean())
    taps = np.maximum(means, SMALLEST_TAP)
    return (taps / taps.sum()).astype(np.float32)


def windowed(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """``out[b, l] = sum_k taps[k] * x[b, l + k - K // 2]``, zeros beyond both ends; x [B, L, H]."""
    half, length = len(taps) // 2, x.shape[1]
    padded = np.pad(x, [(0, 0), (half, half), (0, 0)])
    return sum(tap * padded[:, k : k + length] for k, tap in enumerate(taps))


def rows(arrays: list[np.ndarray]) -> np.ndarray:
    """The last axis of several arrays as rows of one matrix."""
    return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])


def layer_weights(layer, heads: list[HeadFit], chosen: list[int]) -> dict[str, np.ndarray]:
    """The tensors of one student layer; the ``chosen`` heads become convolutions."""
    weights = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    columns = np.arange(len(weights["self_attn.q_proj.bias"])).reshape(len(heads), -1)
    kept, replaced = np.delete(columns, chosen, axis=0).ravel(), columns[chosen].ravel()
    keys = weights["self_attn.k_proj.weight"][:, replaced]  # [H, N / 2 * D]
    key_bias = weights["self_attn.k_proj.bias"][replaced]
    for name in ("q_proj", "k_proj", "v_proj"):
        for part in ("weight", "bias"):
            weights[f"self_attn.{name}.{part}"] = weights[f"self_attn.{name}.{part}"][..., kept]
    # The rows of the student's output projection: its attention heads, then its convolutions.
    output = weights["self_attn.out_proj.weight"][[*kept, *replaced]]
    # Start from fixed taps: the weights on the words are 0, and training can change them.
    fits = [heads[head] for head in chosen]
    taps = np.log(np.concatenate([fit.taps for fit in fits]))
    depthwise = np.zeros([len(keys), 1, KERNEL_SIZE])
    depthwise[:, :, KERNEL_SIZE // 2] = 1.0
    convolution = {
        "out_proj.weight": output,
        "conv_out_layer.weight": np.concatenate([fit.weight for fit in fits], axis=1),
        "conv_out_layer.bias": np.concatenate([fit.bias for fit in fits]),
        "key_conv_attn_layer.depthwise.weight": depthwise,
        "key_conv_attn_layer.pointwise.weight": keys.T[:, :, None],
        "key_conv_attn_layer.bias": key_bias,
        "conv_kernel_layer.weight": np.zeros([len(replaced), len(taps)]),
        "conv_kernel_layer.bias": taps,
    }
    return {**weights, **{f"self_attn.{name}": array for name, array in convolution.items()}}
