"""Draw the pictures of docs/gallery.md, and write that page and docs/gallery_cn.md.

Example:
    python docs/draw_gallery.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.default_model import default_checkpoint
from paddlenlp.utils.files import atomic_write

HEADS = 3  # of each kind, so that the pictures stay small
SENTENCES = {
    "negation": "the film is not good at all .",
    "contrast": "slow at first , but the ending is wonderful .",
    "length": "the film is long , the first hour is slow and there is little plot , but the actors "
    "are fine , the music is lovely , and the ending is wonderful .",
}
# file name: the start of the page, a section, and for each sentence its title and what to look at
PAGES = {
    "gallery.md": (
        """# Gallery

[中文](gallery_cn.md)

What a trained classifier, {model}, does with three sentences. The pictures and this
page are made by `python docs/draw_gallery.py`; `python tools/visualize.py` draws any other text.

How to read them: the effects are in units of the margin, which is the logit of the answer minus
the mean of the others. A positive effect supports the answer, a negative one opposes it.
*Integrated gradients* and *occlusion* (the word is masked like padding) measure it independently
of each other. The gradients start from a text of [PAD] and explain only the difference between its
margin and that of the sentence, so the two disagree where [PAD] alone gets the same answer.

In the pictures of a layer, the upper row shows the nine taps of each convolution head at every
token: tap -4 is the weight of the token four places to the left. The lower row shows the attention
heads beside them. Each row of a map sums to 1. [The model](architecture.md) explains both kinds.
""",
        """
## {title}

> {text}

{question}

Answer: label {found.prediction.label}, probability {found.prediction.prob:.4f}.
Margin {found.margin:.4f}, of a text of [PAD] {found.pad_margin:.4f}; completeness error of the
gradients {found.completeness_error:.1e}.

![Effect of each word](../images/gallery_{name}_words.png)

![Kernels and attention of layer {layer}](../images/gallery_{name}_layer.png)
""",
        {
            "negation": (
                "Negation",
                'Does the answer follow "good" or the words before and after it?',
            ),
            "contrast": (
                "Contrast",
                'Two halves with opposite meanings: the part after "but" should decide.',
            ),
            "length": (
                "Length",
                "A kernel reaches four tokens to each side; only attention connects the two ends.",
            ),
        },
    ),
    "gallery_cn.md": (
        """# 可视化示例

[English](gallery.md)

训练好的分类模型 {model} 如何处理三个句子。图片和本页由 `python docs/draw_gallery.py` 生成；
其他文本可以用 `python tools/visualize.py` 绘制。

阅读方法：影响以 margin 为单位，即预测标签的 logit 减去其余标签 logit 的平均值。
正的影响支持该结果，负的影响反对该结果。*积分梯度*（integrated gradients）与
*遮挡*（occlusion，像填充一样屏蔽该词）是两种相互独立的度量。
积分梯度从全部为 [PAD] 的文本出发，只解释该文本与句子的 margin 之差；
如果只有 [PAD] 时也得到同样的结果，两种度量就会不一致。

在每一层的图中，上面一行是各卷积头在每个 token 处的九个权重：
-4 处是左侧第四个 token 的权重；下面一行是同一层的注意力头。
每张图的每一行之和为 1。两种头的原理见[模型结构](architecture.md)。
""",
        """
## {title}

> {text}

{question}

结果：标签 {found.prediction.label}，概率 {found.prediction.prob:.4f}。
句子的 margin 为 {found.margin:.4f}，[PAD] 文本的 margin 为 {found.pad_margin:.4f}；
积分梯度的完备性误差为 {found.completeness_error:.1e}。

![各词的影响](../images/gallery_{name}_words.png)

![第 {layer} 层的卷积核与注意力](../images/gallery_{name}_layer.png)
""",
        {
            "negation": ("否定", "结果取决于 “good”，还是它前后的词？"),
            "contrast": ("转折", "前后两半意思相反，应当由 “but” 之后的部分决定。"),
            "length": ("长句", "卷积核只覆盖左右各四个 token，只有注意力能联系句子的首尾。"),
        },
    ),
}


def parse_args(argv=None):
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--model_path", help="checkpoint directory (the bundled model)")
    parser.add_argument("--model_name", help="how the page names it (the directory's name)")
    parser.add_argument("--layer", type=int, default=1, help="which one to draw (%(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Explain the sentences, write the pictures and the pages."""
    args = parse_args(argv)
    args.model_path = args.model_path or default_checkpoint()
    start_paddle()
    from convbert.explain.explanation import explain
    from convbert.explain.pictures import answer, layer_png, words_png
    from convbert.inference.dygraph import load_classifier

    model, processor = load_classifier(args.model_path)
    explained = {}
    for name, text in SENTENCES.items():
        with hold_signals():
            found = explained[name] = explain(model, processor, text)
        heads = range(min(HEADS, found.kernels.shape[1]))
        pictures = {"words": words_png(found), "layer": layer_png(found, args.layer - 1, heads)}
        for kind, content in pictures.items():
            with atomic_write(ROOT / "images" / f"gallery_{name}_{kind}.png", "wb") as file:
                file.write(content)
        print(f"{name}: {answer(found)}, completeness error {found.completeness_error:.1e}")
    model_name = args.model_name or f"`{Path(args.model_path).name}`"
    for file_name in PAGES:
        with atomic_write(ROOT / "docs" / file_name) as file:
            file.write(page(file_name, model_name, explained, args.layer))


def page(file_name: str, model_name: str, explained: dict, layer: int) -> str:
    """The content of the page in one language."""
    start, section, words = PAGES[file_name]
    sections = [
        section.format(
            name=name,
            text=SENTENCES[name],
            title=words[name][0],
            question=words[name][1],
            found=found,
            layer=layer,
        )
        for name, found in explained.items()
    ]
    return start.format(model=model_name) + "".join(sections)


if __name__ == "__main__":
    run_main(main)
