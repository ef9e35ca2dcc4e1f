"""The page: its texts in two languages, its components and their actions."""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import yaml

from paddlenlp.utils.errors import UserError

CONFIG = Path(__file__).resolve().parents[1] / "serving_python" / "config.yml"
SERVICE = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["service"]
LIMITS = (SERVICE["max_texts"], SERVICE["max_text_chars"])
EXAMPLES = (
    "a warm , funny and honest film .",
    "the plot is not without problems , but the ending is wonderful .",
    "the problem , it is with most of these things , is the script .",
    "a dull story\nfine acting\nnot bad at all",
)
TEXTS = {
    "English": {
        "title": "# ConvBERT\nType a sentence, or paste many: one per line.",
        "box": "Sentences",
        "classify": "Classify",
        "explain": "Why? (first sentence)",
        "layer": "Layer of the picture",
        "examples": "Examples",
        "columns": ("sentence", "label", "probability"),
        "empty": "Type at least one sentence.",
        "words": "Blue words support the answer, orange words oppose it.",
        "picture": "Above: the dynamic kernel at every word. Below: the attention heads.",
    },
    "中文": {
        "title": "# ConvBERT\n输入一个句子，或粘贴多个句子，每行一句。",
        "box": "句子",
        "classify": "分类",
        "explain": "为什么？（第一句）",
        "layer": "图中的层",
        "examples": "示例",
        "columns": ("句子", "标签", "概率"),
        "empty": "请至少输入一个句子。",
        "words": "蓝色的词支持该结果，橙色的词反对该结果。",
        "picture": "上：每个词处的动态卷积核。下：注意力头。",
    },
}
THEME = gr.themes.Default(font=["system-ui", "sans-serif"])  # fonts of the visitor's machine
CSS = """
.answers { border-collapse: collapse; width: 100%; }
.answers td, .answers th { padding: 0.3em 0.8em; text-align: left; }
.answers td:first-child { white-space: pre-wrap; overflow-wrap: anywhere; }
.answers meter { width: 8em; margin-left: 0.6em; }
.refused { color: #b00020; font-weight: bold; }
.words { font-size: 1.3em; line-height: 1.9; }
#why img { max-width: 100%; }
"""


def table(texts: Sequence[str], answers: Sequence[tuple[str, float]], language: str) -> str:
    """The answers as an HTML table; every text is escaped."""
    columns = TEXTS[language]["columns"]
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in columns)
    rows = "".join(
        f"<tr><td>{html.escape(text)}</td><td>{html.escape(label)}</td>"
        f"<td>{prob:.4f}<meter min='0' max='1' value='{prob:.4f}'></meter></td></tr>"
        for text, (label, prob) in zip(texts, answers)
    )
    return f"<table class='answers'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def explanation(text: str, found: dict, language: str) -> str:
    """The answer, the colored words, and the picture of a layer if there is one."""
    about = TEXTS[language]
    parts = [
        table([text], found["answers"], language),
        f"<p class='words'>{found['words']}</p><p>{about['words']}</p>",
    ]
    if "picture" in found:
        source = f"data:image/png;base64,{found['picture']}"
        parts.append(f"<p>{about['picture']}</p><img alt='{about['picture']}' src='{source}'>")
    return "".join(parts)


def translated(parts: dict, language: str) -> list:
    """The updates that show components in a language; ``parts``: their names in `TEXTS`."""
    updates = []
    for part, name in parts.items():
        text = TEXTS[language][name]
        if isinstance(part, (gr.Textbox, gr.Number, gr.Dataset)):
            updates.append(gr.update(label=text))
        else:
            updates.append(gr.update(value=text))
    return updates


def build(model) -> gr.Blocks:
    """Make the page of a model (`deploy.web_demo.app.Model`)."""

    def shown(text: str, language: str, layer: int | None = None) -> str:
        """The answers to the lines of the text box, or an error message."""
        lines = [line.strip() for line in (text or "").split("\n") if line.strip()]
        try:
            if not lines:
                raise UserError("text", TEXTS[language]["empty"])
            if layer is None:
                return table(lines, model.ask(lines)["answers"], language)
            return explanation(lines[0], model.ask(lines, int(layer)), language)
        except UserError as error:
            return f"<p class='refused' role='alert'>{html.escape(str(error))}</p>"

    start = TEXTS["English"]
    with gr.Blocks(title="ConvBERT", analytics_enabled=False) as blocks:
        choice = gr.Radio(list(TEXTS), value="English", show_label=False, elem_id="language")
        title = gr.Markdown(start["title"])
        box = gr.Textbox(label=start["box"], lines=4, max_lines=12, elem_id="sentences")
        with gr.Row():
            go = gr.Button(start["classify"], variant="primary", elem_id="classify")
            more = gr.Button(start["explain"], visible=model.explains, elem_id="explain")
        answers = gr.HTML(elem_id="answers")
        layer = gr.Number(
            1, label=start["layer"], minimum=1, precision=0, visible=model.kernels, elem_id="layer"
        )
        reasons = gr.HTML(elem_id="why")
        examples = gr.Examples(list(EXAMPLES), box, label=start["examples"])
        # One request at a time, because there is one model. A full queue rejects requests.
        alone = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        go.click(shown, [box, choice], answers, **alone)
        more.click(shown, [box, choice, layer], reasons, **alone)
        parts = {title: "title", box: "box", go: "classify", more: "explain", layer: "layer"}
        parts[examples.dataset] = "examples"

        def translate(language: str) -> list:
            return [*translated(parts, language), "", ""]  # no answers in the other language

        outputs = [*parts, answers, reasons]
        choice.change(translate, choice, outputs, api_visibility="private")
    return blocks.queue(max_size=SERVICE["max_in_flight"])
