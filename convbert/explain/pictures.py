"""An explanation as pictures (PNG) and as a self-contained page (HTML)."""

import html
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convbert.explain.explanation import Explanation
from convbert.inference import report_page

DPI = 80
FOR, AGAINST = (0, 114, 178), (213, 94, 0)  # blue and orange, also for color-blind readers


def layer_png(found: Explanation, layer: int, heads: Sequence[int] | None = None) -> bytes:
    """Draw the heads of one layer: kernels [L, K] above, attention [L, L] below.

    Args:
        found: the explanation.
        layer: from 0.
        heads: which ones, from 0; None: all.
    """
    heads = range(found.kernels.shape[1]) if heads is None else heads
    length, taps = len(found.tokens), found.kernels.shape[3]
    side = max(2.2, 0.16 * length)  # inches of the square attention map
    figure = Figure(figsize=(max(side, 2.4) * len(heads) + 1.2, 2 * side + 1.6), dpi=DPI)
    axes = figure.subplots(2, len(heads), squeeze=False, sharey=True)
    offsets = np.arange(taps) - taps // 2
    kinds = (("convolution", found.kernels, "Oranges"), ("attention", found.attention, "Blues"))
    for row, (kind, maps, colors) in zip(axes, kinds):
        row[0].set_yticks(range(length), found.tokens)
        for part, head in zip(row, heads):
            weights = maps[layer, head]
            part.imshow(weights, aspect="auto", cmap=colors, vmin=0)
            part.set_title(f"{kind} head {head + 1} (0 to {weights.max():.2f})", fontsize=9)
            part.tick_params(labelsize=7)
    for above, below in axes.T:
        above.set_xticks(range(taps), [f"{offset:+d}" if offset else "0" for offset in offsets])
        below.set_xticks(range(length), found.tokens, rotation=90)
    figure.suptitle(f"layer {layer + 1}", fontsize=10)
    return _png(figure)


def words_png(found: Explanation) -> bytes:
    """Draw the effect of each word as two bars: integrated gradients and occlusion."""
    count = len(found.words)
    figure = Figure(figsize=(5.5, 0.26 * count + 1.3), dpi=DPI)
    axes = figure.subplots()
    places = np.arange(count)
    texts, gradients, occlusion = zip(*found.words)
    axes.barh(places - 0.2, gradients, 0.38, label="integrated gradients", color="#555555")
    axes.barh(places + 0.2, occlusion, 0.38, label="occlusion", color="#bbbbbb")
    axes.set_yticks(places, texts)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("effect on the margin of the answer", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7)
    axes.set_title(answer(found), fontsize=9)
    return _png(figure)


def answer(found: Explanation) -> str:
    """The prediction in words."""
    prediction = found.prediction
    if not prediction.label:
        return f"score {prediction.prob:.4f}"
    return f"label {prediction.label}, probability {prediction.prob:.4f}"


def words_html(effects: Sequence[tuple[str, float]]) -> str:
    """Words with their effects as HTML: blue words support the answer, orange words oppose it."""
    strongest = max((abs(effect) for _, effect in effects), default=0.0) or 1.0
    spans = []
    for word, effect in effects:
        color = ",".join(map(str, FOR if effect > 0 else AGAINST))
        opacity = 0.6 * abs(effect) / strongest
        spans.append(
            f'<span style="background: rgba({color},{opacity:.2f}); padding: 0.15em 0.2em" '
            f'title="{effect:+.3f}">{html.escape(word)}</span>'
        )
    return " ".join(spans)


def page_html(found: Explanation) -> str:
    """A self-contained page with the words, their table and the pictures of all layers."""
    facts = {
        "margin": f"{found.margin:.4f}: the logit of the answer minus the mean of the other logits",
        "margin of [PAD]": f"{found.pad_margin:.4f}: a text of [PAD], where the gradients start",
        "completeness error": f"{found.completeness_error:.2e}",
    }
    colored = words_html([(word.text, word.gradients) for word in found.words])
    rows = [
        {
            "word": word.text,
            "integrated gradients": f"{word.gradients:+.4f}",
            "occlusion": f"{word.occlusion:+.4f}",
        }
        for word in found.words
    ]
    layers = (
        report_page.image("png", layer_png(found, layer), f"layer {layer + 1}")
        for layer in range(len(found.kernels))
    )
    words = (
        report_page.note("Blue words support the answer, orange words oppose it.")
        + f'<p style="font-size: 1.5em; line-height: 1.8">{colored}</p>'
        + report_page.table(rows)
    )
    maps = report_page.note("Upper row: the taps of each convolution head. Lower row: attention.")
    maps += "".join(f"<p>{layer}</p>" for layer in layers)
    sections = {"Words": words, "Dynamic kernels and attention": maps}
    return report_page.page(answer(found), facts, sections)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.set_layout_engine("constrained")
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
