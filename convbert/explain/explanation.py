"""Everything that can be shown about one text: its words, kernels and attention weights."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import paddle

from convbert.explain.words import STEPS, integrated_gradients, occlude, word_spans
from convbert.inference.dygraph import dygraph_runner
from convbert.text.processing import Prediction, TextProcessor
from paddlenlp.transformers.tokenizer_utils import Text


class WordEffect(NamedTuple):
    """The effect of a word on the answer: see `convbert.explain.words`."""

    text: str
    gradients: float
    occlusion: float


@dataclass(frozen=True)
class Explanation:
    """A text, its answer and why.

    Attributes:
        tokens: [L] as the model sees them, with [CLS] and [SEP].
        prediction: the answer.
        words: [W] with their effects.
        margin, pad_margin: margin of the text, and of the [PAD] text where the gradients start.
        kernels: [layers, N, L, K] float32, the taps of every token, with sum 1. Tap k weighs the
            token ``k - K // 2`` places to the right.
        attention: [layers, N, L, L] float32: how each token weighs every token, with sum 1.
    """

    tokens: list[str]
    prediction: Prediction
    words: list[WordEffect]
    margin: float
    pad_margin: float
    kernels: np.ndarray
    attention: np.ndarray

    @property
    def completeness_error(self) -> float:
        """Sum of the effects by integrated gradients, minus the difference of the margins."""
        return sum(word.gradients for word in self.words) - (self.margin - self.pad_margin)


def explain(model, processor: TextProcessor, text: Text, steps: int = STEPS) -> Explanation:
    """Explain the answer to one text.

    This runs hand-written gradients, which Ctrl-C must not interrupt: wrap the call in
    `convbert.command.start.hold_signals`.

    Args:
        model, processor: from `convbert.inference.dygraph.load_classifier`.
        text: a sentence or a pair.
        steps: points of the integral; more of them give a smaller completeness error.

    Raises:
        UserError: the text has no words after normalisation, or the logits are not finite.
    """
    ids, types = processor.collate(processor.encode([text]))  # [1, L]
    kernels, attention, logits = maps_of(model, ids, types)
    prediction = processor.decode(logits)[0]
    occlusion = occlude(dygraph_runner(model), processor, text)
    spans = word_spans(processor.tokenizer, ids[0])
    gradients, pad_margin, margin = integrated_gradients(model, ids, types, spans, steps)
    return Explanation(
        tokens=processor.tokenizer.convert_ids_to_tokens(ids[0]),
        prediction=prediction,
        words=[
            WordEffect(word, float(gradient), effect)
            for (word, effect), gradient in zip(occlusion, gradients)
        ],
        margin=margin,
        pad_margin=pad_margin,
        kernels=np.concatenate(kernels),
        attention=np.concatenate(attention),
    )


@paddle.no_grad()
def maps_of(model, input_ids: np.ndarray, token_type_ids: np.ndarray) -> tuple:
    """Run a classifier once, with hooks.

    Args:
        model: a `ConvBertForSequenceClassification` in evaluation mode.
        input_ids, token_type_ids: [B, L] int64.

    Returns:
        The kernels [B, N, L, K] and the attention weights [B, N, L, L] of each layer as lists, and
        the logits [B, C]; float32.
    """
    kernels, attention, hooks = [], [], []

    def keep(softmax, found: list[np.ndarray]) -> None:
        hook = softmax.register_forward_post_hook(
            lambda layer, inputs, output: found.append(output.numpy())
        )
        hooks.append(hook)

    for layer in model.convbert.encoder.layers:
        keep(layer.self_attn.kernel_softmax, kernels)
        keep(layer.self_attn.attention_softmax, attention)
    try:
        answer = model(
            paddle.to_tensor(input_ids),
            paddle.to_tensor(token_type_ids),
            output_hidden_states=True,  # or the last layer is computed only at the first token
            return_dict=True,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return kernels, attention, answer.logits.numpy()
