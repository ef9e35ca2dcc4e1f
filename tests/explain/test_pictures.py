"""Pictures and pages: they are whole, need nothing else, and show text as text."""

import io
import re

import numpy as np
from matplotlib.image import imread

from convbert.explain import pictures
from convbert.explain.explanation import Explanation, WordEffect
from convbert.text.processing import Prediction
from tests.helpers.errors import assert_refused

WORDS = ["<script>", "alert", "&", "$x$"]
FOUND = Explanation(
    tokens=["[CLS]", *WORDS, "[SEP]"],
    prediction=Prediction(1, 0.75, "posi<tive"),
    words=[WordEffect(word, n - 1.5, 0.1) for n, word in enumerate(WORDS)],
    margin=1.0,
    pad_margin=0.5,
    kernels=np.full((2, 3, 6, 9), 1 / 9, np.float32),
    attention=np.full((2, 3, 6, 6), 1 / 6, np.float32),
)


def test_pictures_are_png():
    one = imread(io.BytesIO(pictures.layer_png(FOUND, 0, heads=[2])))
    three = imread(io.BytesIO(pictures.layer_png(FOUND, 1)))
    assert three.shape[1] > 2 * one.shape[1] > 200
    assert imread(io.BytesIO(pictures.words_png(FOUND))).shape[0] > 100


def test_the_page_loads_nothing_and_escapes_the_text():
    page = pictures.page_html(FOUND)
    assert "<script" not in page
    assert "posi<" not in page
    assert page.count("&lt;script&gt;") == 2
    assert len(re.findall(r'src="data:image/png;base64,[\w+/=]+"', page)) == 2
    assert re.findall(r'(?:src|href)="(?!data:)|url\(|@import|https?:', page) == []


def test_the_color_says_for_or_against():
    colors = re.findall(
        r"rgba\((\d+,\d+,\d+),(\d\.\d+)\)",
        pictures.words_html([(w.text, w.gradients) for w in FOUND.words]),
    )
    blue, orange = ",".join(map(str, pictures.FOR)), ",".join(map(str, pictures.AGAINST))
    assert [color for color, _ in colors] == [orange, orange, blue, blue]
    assert float(colors[0][1]) > float(colors[1][1])


def test_the_command(call_script, tiny_checkpoint, tmp_path):
    flags = ["--model_path", tiny_checkpoint, "--output_dir", "out", "--steps", 4]
    done = call_script("tools/visualize.py", *flags, "--text", "not a good film")
    assert done.returncode == 0, done.stderr
    names = ["index.html", "layer_01.png", "layer_02.png", "manifest.json", "words.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"label_id: [01], prob: [\d.]+, label: (negative|positive)", lines[0])
    assert [line.split()[0] for line in lines[2:6]] == ["not", "a", "good", "film"]
    assert re.search(r"completeness error .*: -?\d\.\d\de-\d\d$", done.stdout, re.M)
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    assert_refused(call_script("tools/visualize.py", *flags), "occupied", "mine.txt")
    assert_refused(
        call_script("tools/visualize.py", *flags[:2], "--output_dir", "new", "--text", " "), "text"
    )
    assert not (tmp_path / "new").exists()
