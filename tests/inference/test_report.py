"""The HTML report: one page that needs nothing else, with the numbers of the model."""

import json
import shutil
from html.parser import HTMLParser

import pytest

from tests.helpers.errors import assert_refused

REPORT = "tools/report.py"
TEXTS = ["a good film", "bad <script>", "not good & bad", "it was great"]


class Page(HTMLParser):
    """The tags, the addresses and the text of a page; every tag must be closed."""

    VOID = ("meta", "img")

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.addresses, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def run_dir(tiny_checkpoint, tmp_path):
    """The folder of a finished run, with `tiny_checkpoint` as its best model."""
    run = tmp_path / "run"
    shutil.copytree(tiny_checkpoint, run / "best.pdparams")
    records = [
        {"kind": "train", "step": 1, "loss": 0.7},
        {"kind": "eval", "step": 1, "split": "dev", "loss": 0.6, "acc": 0.5},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    (run / "metrics.json").write_text('{"selection": "acc"}')
    (run / "args.json").write_text('{"text_column": "review", "label_column": "stars"}')
    return run


def write(path, rows):
    lines = [f'"{text}",{label}' for text, label in rows]
    path.write_text("\n".join(["review,stars", *lines]) + "\n")
    return path


def test_a_page_of_a_run(call_script, run_dir, tmp_path):
    file = write(tmp_path / "dev.csv", [(text, "positive") for text in TEXTS])
    done = call_script(REPORT, run_dir, "--input_file", file, "--json", "numbers.json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["texts"] == 4
    assert f"accuracy: {numbers['accuracy']:.4f} ({numbers['right']} of 4)" in done.stdout
    assert len(numbers["mistakes"]) == 4 - numbers["right"]
    page = Page((run_dir / "report.html").read_text())
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert page.tags.count("img") == 3  # curves, reliability, lengths
    words = "".join(page.words)
    for row in numbers["mistakes"]:
        assert row["text"] in words
        assert f"{row['prob']:.4f}" in words


def test_a_bare_checkpoint_has_no_curves_and_stays_as_it_is(call_script, tiny_checkpoint, tmp_path):
    before = sorted(tiny_checkpoint.iterdir())
    file = write(tmp_path / "dev.csv", [(TEXTS[0], 0), (TEXTS[3], 1)])
    columns = ["--text_column", "review", "--label_column", "stars"]
    done = call_script(REPORT, tiny_checkpoint, "--input_file", file, *columns)
    assert done.returncode == 0, done.stderr
    assert Page((tmp_path / "report.html").read_text()).tags.count("img") == 2
    assert sorted(tiny_checkpoint.iterdir()) == before


@pytest.mark.parametrize(
    ("rows", "code", "fact"),
    [
        ([("fine", "neutral")], "label", "line 2"),
        ([("fine", "positive"), (" ", "positive")], "text", "line 3"),
    ],
)
def test_a_wrong_row_is_one_line_and_nothing_is_written(
    call_script, run_dir, tmp_path, rows, code, fact
):
    file = write(tmp_path / "dev.csv", rows)
    done = call_script(REPORT, run_dir, "--input_file", file, "--json", "numbers.json")
    assert_refused(done, code, file, fact)
    assert not (run_dir / "report.html").exists()
    assert not (tmp_path / "numbers.json").exists()
