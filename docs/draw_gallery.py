"""Draw the pictures of docs/gallery.md and its translation, and fill in the numbers of their table.

Example:
    python docs/draw_gallery.py

The sentences are those of the table: for another one, add a row to it in both languages.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.inference.default_model import default_checkpoint
from paddlenlp.utils.files import atomic_write

HEADS = 3  # of each kind, so that the pictures stay small
PAGES = (ROOT / "docs" / "gallery.md", ROOT / "docs" / "gallery_cn.md")
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \|.*$", re.M)  # name, sentence


def main(argv=None) -> None:
    """Explain the sentences, write the pictures and the rows."""
    parser = make_parser(__doc__)
    parser.add_argument("--model_path", help="checkpoint directory (default: the bundled model)")
    parser.add_argument("--model_name", help="name on the page (default: the directory's name)")
    parser.add_argument("--layer", type=int, default=1, help="layer to draw")
    args = parser.parse_args(argv)
    directory = args.model_path or default_checkpoint()
    start_paddle()
    from convbert.explain.explanation import explain
    from convbert.explain.pictures import answer, layer_png, words_png
    from convbert.inference.dygraph import load_classifier

    model, processor = load_classifier(directory)
    model_name = args.model_name or f"`{Path(directory).name}`"
    pages = {path: path.read_text(encoding="utf-8") for path in PAGES}
    numbers = {}
    for name, text in ROW.findall(pages[PAGES[0]]):
        with hold_signals():
            found = explain(model, processor, text)
        heads = range(min(HEADS, found.kernels.shape[1]))
        pictures = {"words": words_png(found), "layer": layer_png(found, args.layer - 1, heads)}
        for kind, content in pictures.items():
            with atomic_write(ROOT / "images" / f"gallery_{name}_{kind}.png", "wb") as file:
                file.write(content)
        print(f"{name}: {answer(found)}, completeness error {found.completeness_error:.1e}")
        numbers[name] = (
            f"{model_name} | {args.layer} | {found.prediction.label} | "
            f"{found.prediction.prob:.4f} | {found.margin:.4f} | {found.pad_margin:.4f} | "
            f"{found.completeness_error:.1e}"
        )
    for path, page in pages.items():
        with atomic_write(path) as file:
            file.write(ROW.sub(lambda row: f"| `{row[1]}` | {row[2]} | {numbers[row[1]]} |", page))


if __name__ == "__main__":
    run_main(main)
