"""The effect of each word on the answer, measured in two independent ways.

Both explain the margin: the logit of the predicted class minus the mean of the other logits, or the
score of a regression model. A positive effect supports the prediction, a negative one opposes it.

- Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): the gradient of the margin
  along the straight line from a text of [PAD] embeddings to the text. The effects add up to the
  difference of the two margins, except for the completeness error. They do not explain the margin
  of the [PAD] text itself.
- Occlusion: the margin minus the margin with the word hidden like padding.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import paddle

from convbert.text.processing import TextProcessor
from paddlenlp.transformers.tokenizer_utils import Text

BATCH = 16  # texts in one run
STEPS = 64  # points on the path of integrated gradients
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Span(NamedTuple):
    """A word and the positions of its pieces, ``start`` to ``end`` (excluded)."""

    text: str
    start: int
    end: int


def word_spans(tokenizer, ids: Sequence[int]) -> list[Span]:
    """Join the word pieces of a text [L] to words; the tokens that frame or fill it are left out.

    A piece that continues a word begins with ``##``. [UNK] and [MASK] stand for words.
    """
    frame = (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token)
    spans: list[Span] = []
    for place, token in enumerate(tokenizer.convert_ids_to_tokens(ids)):
        if token in frame:
            continue
        if token.startswith("##") and spans and spans[-1].end == place:
            spans[-1] = Span(spans[-1].text + token[2:], spans[-1].start, place + 1)
        else:
            spans.append(Span(token, place, place + 1))
    return spans


def margin(logits, target: int):
    """Return the margin [B] of class ``target`` from logits [B, C], NumPy or Paddle."""
    classes = logits.shape[1]
    if classes == 1:
        return logits[:, 0]
    others = (logits.sum(axis=1) - logits[:, target]) / (classes - 1)
    return logits[:, target] - others


def occlude(run: Run, processor: TextProcessor, text: Text) -> list[tuple[str, float]]:
    """Return each word of a text with its effect, measured by hiding each word in turn.

    Args:
        run: maps two [B, L] int64 arrays to logits [B, C]: ``engine.run`` of an exported model, or
            `convbert.inference.dygraph.dygraph_runner`.
        processor: the text processor of the model.
        text: a sentence or a pair.

    Raises:
        UserError: the text has no words after normalisation.
    """
    input_ids, token_type_ids = processor.collate(processor.encode([text]))  # [1, L]
    spans = word_spans(processor.tokenizer, input_ids[0])
    logits = run(input_ids, token_type_ids)
    target = int(logits[0].argmax())
    hidden = np.repeat(input_ids, len(spans), axis=0)  # [W, L]
    for row, span in zip(hidden, spans):
        row[span.start : span.end] = processor.tokenizer.pad_token_id
    without = [
        margin(run(ids, np.repeat(token_type_ids, len(ids), axis=0)), target)
        for ids in np.split(hidden, range(BATCH, len(hidden), BATCH))
    ]
    effects = np.float64(margin(logits, target)) - np.concatenate(without)
    return [(span.text, float(effect)) for span, effect in zip(spans, effects)]


def integrated_gradients(
    model,
    input_ids: np.ndarray,
    token_type_ids: np.ndarray,
    spans: Sequence[Span],
    steps: int = STEPS,
) -> tuple[np.ndarray, float, float]:
    """Integrate the gradient of the margin from a text of [PAD] embeddings to the text.

    Args:
        model: a `ConvBertForSequenceClassification` in evaluation mode.
        input_ids, token_type_ids: [1, L] int64, one text.
        spans: its words.
        steps: points of the Gauss-Legendre quadrature.

    Returns:
        [W] float64, the effect of each word, the margin of the [PAD] text and that of the text.
    """
    table = model.convbert.embeddings.word_embeddings
    padded = input_ids.copy()
    for span in spans:
        padded[:, span.start : span.end] = model.config.pad_token_id
    start, end = (table(paddle.to_tensor(ids)).detach() for ids in (padded, input_ids))  # [1, L, E]
    types = paddle.to_tensor(token_type_ids)

    def logits(embeds):
        return model(None, types.expand([embeds.shape[0], -1]), inputs_embeds=embeds)

    with paddle.no_grad():
        ends = logits(paddle.concat([start, end])).numpy().astype(np.float64)
    target = int(ends[1].argmax())
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    total = np.zeros(end.shape[1:])
    for part in np.split(np.arange(steps), range(BATCH, steps, BATCH)):
        along = paddle.to_tensor((nodes[part] + 1) / 2, dtype=end.dtype).reshape([-1, 1, 1])
        path = start + along * (end - start)  # [B, L, E]
        path.stop_gradient = False
        # Not paddle.grad, which leaves out a part of this gradient (2.6.2): about a tenth.
        margin(logits(path), target).sum().backward()
        total += np.tensordot(weights[part] / 2, path.grad.numpy(), axes=1)
    for parameter in model.parameters():
        parameter.clear_gradient(set_to_zero=False)  # and free its memory
    by_token = (total * (end - start).numpy()[0]).sum(axis=1)  # [L]
    effects = np.array([by_token[span.start : span.end].sum() for span in spans])
    before, after = margin(ends, target)
    return effects, float(before), float(after)
