"""Training on the user's own files: labels, held-out part, pairs, regression, mistakes."""

import csv
import json

import pytest

import train
from convbert.inference.dygraph import load_classifier
from convbert.training.data import load_data
from convbert.training.own_data import open_own_data
from convbert.training.settings import train_settings
from tests.helpers.errors import raises_code
from tests.helpers.training import BAD, GOOD, read_summary, tiny_flags

ROWS = [(text, "good") for text in GOOD * 5] + [(text, "bad") for text in BAD * 5]


def write_csv(path, rows, header=("text", "label")):
    """Write a CSV file; returns its path."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(name="reviews")
def _reviews(tmp_path):
    return write_csv(tmp_path / "reviews.csv", ROWS)


def read(path, *flags):
    """The task and the examples that the flags name."""
    return open_own_data(train_settings(["--train_file", str(path), *map(str, flags)]))


def test_a_run_on_own_data(reviews, tiny_checkpoint, tmp_path):
    settings = {"max_steps": 60, "save_steps": 20, "hidden_dropout_prob": 0}
    flags = tiny_flags(tiny_checkpoint, None, tmp_path / "out", train_file=reviews, **settings)
    assert train.main(flags) == 0
    assert read_summary(tmp_path / "out")["best"]["dev"]["dev"]["acc"] == 1.0
    _, processor = load_classifier(str(tmp_path / "out" / "best.pdparams"))
    assert processor.label_names == ["bad", "good"]
    found = json.loads((tmp_path / "out" / "confusion.json").read_text())["dev"]
    assert found["labels"] == ["bad", "good"]
    assert found["confusion"] == [[2, 0], [0, 2]]
    assert found["per_class"]["good"] == {"precision": 1, "recall": 1, "f1": 1, "support": 2}


def test_the_held_out_part_is_stratified_and_seeded(reviews):
    task, splits = read(reviews, "--dev_share", 0.2)
    assert task.label_names == ("bad", "good")
    assert sorted(splits["dev"].labels) == [0] * 4 + [1] * 4
    assert len(splits["train"].texts) == 32
    assert read(reviews, "--dev_share", 0.2)[1] == splits
    assert read(reviews, "--dev_share", 0.2, "--seed", 7)[1] != splits


def test_labels_are_sorted_as_numbers_where_they_are(tmp_path):
    path = write_csv(tmp_path / "stars.csv", [("a film", n) for n in (10, 9, 2, 1) * 2])
    assert read(path)[0].label_names == ("1", "2", "9", "10")


def test_pairs_and_other_columns(tmp_path):
    rows = [("q one", "a one", "yes", "x"), ("q two", "a two", "no", "y")] * 3
    path = write_csv(tmp_path / "pairs.csv", rows, ("question", "answer", "right", "id"))
    columns = ("--text_column", "question", "--text_pair_column", "answer")
    _, splits = read(path, *columns, "--label_column", "right", "--dev_file", path)
    assert splits["dev"].texts[:2] == [("q one", "a one"), ("q two", "a two")]
    assert splits["dev"].labels[:2] == [1, 0]


def test_regression(tmp_path):
    path = write_csv(tmp_path / "scores.csv", [("a film", n / 4) for n in range(20)])
    task, splits = read(path, "--regression")
    assert (task.num_classes, task.selection) == (1, "spearman")
    assert len(splits["dev"].labels) == 2
    assert all(isinstance(score, float) for score in splits["train"].labels)


def test_what_is_reported_before_training(tiny_checkpoint, tmp_path, caplog, capfd):
    path = write_csv(tmp_path / "twice.csv", [("good film", "y"), ("bad film", "n")] * 4)
    flags = tiny_flags(tiny_checkpoint, None, tmp_path, train_file=path, dev_file=path)
    load_data(train_settings(flags), 1)
    shown = capfd.readouterr().err + caplog.text
    assert "'n' 4, 'y' 4" in shown
    assert "6 rows" in shown
    assert "2 texts" in shown


MISTAKES = {
    "no such column": (ROWS, ["--text_column", "review"], "column", "'review'"),
    "no such label column": (ROWS, ["--label_column", "stars"], "column", "'stars'"),
    "one label": (ROWS[:9], [], "label", "'good'"),
    "one row": (ROWS[:1], [], "label", "'good'"),
    "a label with one row": ([*ROWS[:9], ("a film", "rare")], [], "label", "'rare'"),
    "a second header": ([*ROWS, ("text", "label")], [], "row", "line 42"),
    "an empty text": ([*ROWS, ("  ", "good")], [], "text", "line 42"),
    "an invisible text": ([*ROWS, ("\u200b\u3164", "good")], [], "text", "line 42"),
    "an empty label": ([*ROWS, ("a film", " ")], [], "label", "line 42"),
    "not a number": (ROWS, ["--regression"], "label", "'good'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(tmp_path, mistake):
    rows, flags, code, fact = MISTAKES[mistake]
    path = write_csv(tmp_path / "data.csv", rows)
    with raises_code(code, fact):
        read(path, *flags)


def test_a_label_that_occurs_only_in_dev(reviews, tmp_path):
    dev = write_csv(tmp_path / "dev.csv", [("a film", "mixed")])
    with raises_code("label", "'mixed'", "line 2", dev):
        read(reviews, "--dev_file", dev)


@pytest.mark.parametrize(
    "flags",
    [
        ["--dev_file", "dev.csv"],
        ["--text_pair_column", "b"],
        ["--regression"],
        ["--train_file", "a.csv", "--task_name", "cola"],
        ["--train_file", "a.csv", "--data_dir", "."],
    ],
)
def test_flags_that_contradict_each_other(flags):
    with raises_code("command-line", flags[0]):
        train_settings(flags)
