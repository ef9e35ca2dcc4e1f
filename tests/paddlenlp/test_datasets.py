"""The nine GLUE readers on tiny files in the official formats, the real SST-2, and bad files."""

import hashlib
import shutil
import zipfile
from dataclasses import replace

import pytest

from paddlenlp.datasets import GLUE_TASKS, MapDataset, load_dataset
from tests.helpers.errors import raises_code

SIZES = {  # examples per split of the fixtures
    "cola": {"train": 10, "dev": 5, "test": 3},
    "sst-2": {"train": 8, "dev": 5, "test": 2},
    "mrpc": {"train": 8, "dev": 4, "test": 2},
    "sts-b": {"train": 8, "dev": 5, "test": 2},
    "qqp": {"train": 8, "dev": 5, "test": 2},
    "mnli": {
        "train": 9,
        "dev_matched": 5,
        "dev_mismatched": 4,
        "test_matched": 2,
        "test_mismatched": 2,
    },
    "qnli": {"train": 8, "dev": 5, "test": 2},
    "rte": {"train": 8, "dev": 5, "test": 2},
    "wnli": {"train": 8, "dev": 4, "test": 2},
}
LAST = {  # last training example of the fixtures: (texts, label)
    "cola": (("Kettle the is stove on.",), 0),
    "sst-2": (("it limps to a predictable end ",), 0),
    "mrpc": (
        (
            "The museum will close for repairs in March.",
            "Ticket prices at the museum will rise in March.",
        ),
        0,
    ),
    "sts-b": (("A girl reads a book.", "A girl is holding a book."), 3.0),
    "qqp": (("How far is the moon?", "How old is the moon?"), 0),
    "mnli": (("She missed the early train.", "She was angry."), 2),
    "qnli": (("How deep is the well?", "The well stands behind the church."), 1),
    "rte": (("The author's last novel sold a million copies.", "The author is a farmer."), 1),
    "wnli": (
        (
            "The ball broke the table because it was made of glass.",
            "The ball was made of glass.",
        ),
        0,
    ),
}


@pytest.fixture
def fixtures(repo_root):
    return repo_root / "tests" / "fixtures" / "glue"


@pytest.fixture
def sst2_copy(fixtures, tmp_path):
    return shutil.copytree(fixtures / "SST-2", tmp_path / "data")


def md5_of(content):
    return hashlib.md5(content).hexdigest()


def load(data_dir, split="train", task="sst-2"):
    return load_dataset("glue", task, splits=split, data_dir=data_dir)


@pytest.mark.parametrize("task", SIZES)
def test_every_split_is_read_whole(fixtures, task):
    assert set(GLUE_TASKS) == set(SIZES)
    splits = load_dataset("glue", task, splits=list(SIZES[task]), data_dir=fixtures)
    assert dict(zip(SIZES[task], map(len, splits))) == SIZES[task]


@pytest.mark.parametrize("task", SIZES)
def test_texts_and_labels_are_the_right_columns(fixtures, task):
    train = load(fixtures / GLUE_TASKS[task].folder, "train", task)
    texts, label = LAST[task]
    keys = ("sentence",) if len(texts) == 1 else ("sentence1", "sentence2")
    assert train[len(train) - 1] == {**dict(zip(keys, texts)), "labels": label}
    assert type(train[0]["labels"]) is type(label)
    assert train.label_list == (list(GLUE_TASKS[task].labels) if task != "sts-b" else None)
    assert len({example["labels"] for example in train}) >= 2


# The official names of the columns with the texts and the label.
HEADERS = {
    "cola": ["sentence"],
    "sst-2": ["sentence", "label"],
    "mrpc": ["#1 String", "#2 String", "Quality"],
    "sts-b": ["sentence1", "sentence2", "score"],
    "qqp": ["question1", "question2", "is_duplicate"],
    "mnli": ["sentence1", "sentence2", "gold_label"],
    "qnli": ["question", "sentence", "label"],
    "rte": ["sentence1", "sentence2", "label"],
    "wnli": ["sentence1", "sentence2", "label"],
}


@pytest.mark.parametrize("task", SIZES)
def test_every_split_takes_the_columns_that_its_header_names(fixtures, task):
    raw = {"train": "train.txt", "dev": "train.txt", "test": "test.txt"}
    for split, where in GLUE_TASKS[task].splits.items():
        if not where.header:
            continue
        name = f"msr_paraphrase_{raw[split]}" if task == "mrpc" else f"{split}.tsv"
        text = (fixtures / GLUE_TASKS[task].folder / name).read_text(encoding="utf-8-sig")
        names = text.splitlines()[0].split("\t")
        assert len(names) == where.columns
        assert [names[field] for field in where.fields] == HEADERS[task][: len(where.fields)]


@pytest.mark.parametrize("task", SIZES)
def test_test_splits_have_texts_and_no_labels(fixtures, task):
    for split in SIZES[task]:
        if split.startswith("test"):
            examples = load(fixtures, split, task)
            assert examples.label_list is None
            for example in examples:
                assert "labels" not in example
                assert all(" " in text for text in example.values())


def test_mnli_dev_takes_the_gold_label(fixtures):
    dev = load(fixtures, "dev_matched", "mnli")  # one annotator of its first row disagreed
    assert [example["labels"] for example in dev] == [0, 1, 2, 2, 0]


def test_mrpc_dev_is_the_listed_pairs(fixtures):
    train, dev = (load(fixtures, split, "mrpc") for split in ("train", "dev"))
    assert dev[0]["sentence2"] == "The team had played its best game, he said."
    assert not {e["sentence2"] for e in train} & {e["sentence2"] for e in dev}


def test_mrpc_split_files_are_read_where_present(tmp_path):
    (tmp_path / "train.tsv").write_text("Quality\t1\t2\tA\tB\n1\t1\t2\tx y\tz\n")
    assert load(tmp_path, task="mrpc")[0] == {"sentence1": "x y", "sentence2": "z", "labels": 1}


def test_mrpc_without_its_files(tmp_path):
    with raises_code("data-set", "train.tsv", "msr_paraphrase_train.txt"):
        load(tmp_path, task="mrpc")


def test_a_file_without_its_header_loses_no_example(sst2_copy):
    whole = load(sst2_copy)
    train = sst2_copy / "train.tsv"
    train.write_text(train.read_text().partition("\n")[2])
    assert list(load(sst2_copy)) == list(whole)


def test_quotes_are_text(fixtures):
    assert load(fixtures)[3]["sentence"] == 'a script with " nothing " to say '


def test_the_real_sst2(shared_data):
    train, dev, test = load(shared_data, ["train", "dev", "test"])
    assert (len(train), len(dev), len(test)) == (67349, 872, 1821)
    assert sum(example["labels"] for example in dev) == 444
    assert train[0] == {"sentence": "hide new secretions from the parental units ", "labels": 0}


def test_the_reviews_are_balanced_and_disjoint(repo_root):
    train, dev = load(repo_root / "data" / "reviews", ["train", "dev"])
    assert (len(train), len(dev)) == (480, 120)
    assert sum(e["labels"] for e in train) == 240
    assert sum(e["labels"] for e in dev) == 60
    sentences = [e["sentence"] for data in (train, dev) for e in data]
    assert len(set(sentences)) == 600


def test_trailing_blank_lines_are_no_rows(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"gj04\t1\t\tA cat sat.\n\n\n")
    assert [e["labels"] for e in load(tmp_path, task="cola")] == [1]


BAD_FILES = {
    "one column too few": (b"good film\n", "row"),
    "one column too many": (b"good\tfilm\t1\n", "row"),
    "torn last row": (b"good film\t", "label"),
    "unknown label": (b"good film\t2\n", "label"),
    "blank line inside": (b"\ngood film\t1\n", "row"),
    "not UTF-8, as in test_lines.py": (b"na\xefve\t1\n", "encoding"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_rows_are_named_with_file_and_line(sst2_copy, case):
    content, code = BAD_FILES[case]
    (sst2_copy / "dev.tsv").write_bytes(b"sentence\tlabel\nfine\t1\n" + content)
    with raises_code(code, "dev.tsv", "line 3"):
        load(sst2_copy, "dev")


@pytest.mark.parametrize("content", [b"", b"sentence\tlabel\n", b"\n\n"])
def test_files_without_examples(sst2_copy, content):
    (sst2_copy / "dev.tsv").write_bytes(content)
    with raises_code("empty-input", "dev.tsv"):
        load(sst2_copy, "dev")


@pytest.mark.parametrize("score", ["high", "nan", "5.1", "-1", ""])
def test_scores_outside_the_range(fixtures, tmp_path, score):
    data = shutil.copytree(fixtures / "STS-B", tmp_path / "data")
    row = "\t".join(["0", "g", "f", "y", "1", "s", "s", "A cat.", "A dog.", score])
    (data / "dev.tsv").write_text(f"header\n{row}\n")
    with raises_code("label", "dev.tsv", "line 2"):
        load(data, "dev", "sts-b")


def test_a_few_torn_rows_of_qqp_are_skipped_aloud(fixtures, tmp_path, capsys):
    data = shutil.copytree(fixtures / "QQP", tmp_path / "data")
    with open(data / "dev.tsv", "a", encoding="utf-8") as file:
        file.write("9\t1\t2\ttorn\n")
    assert len(load(data, "dev", "qqp")) == 5
    assert str(data / "dev.tsv") in capsys.readouterr().err
    with open(data / "dev.tsv", "a", encoding="utf-8") as file:
        file.write("9\t1\t2\ttorn\n" * 30)
    with raises_code("row", "dev.tsv"):
        load(data, "dev", "qqp")


def test_unknown_names(fixtures, tmp_path):
    with raises_code("data-set", "sst2", "sst-2"):
        load(fixtures, task="sst2")
    with raises_code("data-set", "mnli", "dev_matched"):
        load(fixtures, "dev", "mnli")
    with raises_code("data-set", "squad"):
        load_dataset("squad", "x")
    with raises_code("file-missing", tmp_path / "none"):
        load(tmp_path / "none")
    with raises_code("file-missing", "train.tsv"):
        load(tmp_path)


def test_map_and_filter():
    data = MapDataset([{"x": 1}, {"x": 2}, {"x": 3}], ["a"])
    doubled = data.map(lambda example: {"x": example["x"] * 2})
    assert [e["x"] for e in doubled] == [2, 4, 6]
    assert [e["x"] for e in doubled.filter(lambda e: e["x"] > 2)] == [4, 6]
    assert [e["x"] for e in data] == [1, 2, 3]
    assert doubled.label_list == ["a"]


def test_a_lazy_map_runs_at_each_reading():
    calls = []
    data = MapDataset([1, 2]).map(lambda x: calls.append(x) or x + 1, lazy=True)
    assert calls == []
    assert [data[0], data[0], data[1]] == [2, 2, 3]
    assert calls == [1, 1, 2]


class TestDownload:
    """The cache, with a hub on this machine."""

    @pytest.fixture(autouse=True)
    def hub(self, http_server, tmp_path, monkeypatch):
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PPNLP_HUB", http_server.url)
        self.server = http_server
        self.home = tmp_path / "home" / "datasets" / "glue"

    def publish(self, monkeypatch, folder, md5=None):
        """Serve SST.zip made of the fixture and put its checksums in the table."""
        archive = folder.parent / "SST.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in folder.iterdir():
                file.write(path, f"SST-2/{path.name}")
        content = archive.read_bytes()
        self.server.files["/dataset/glue/SST.zip"] = content
        task = GLUE_TASKS["sst-2"]
        splits = {
            name: replace(split, md5=md5_of((folder / f"{name}.tsv").read_bytes()))
            for name, split in task.splits.items()
        }
        downloads = {"dataset/glue/SST.zip": md5 or md5_of(content)}
        row = replace(task, downloads=downloads, splits=splits)
        monkeypatch.setitem(GLUE_TASKS, "sst-2", row)

    def test_it_is_downloaded_once_and_repaired(self, sst2_copy, monkeypatch):
        self.publish(monkeypatch, sst2_copy)
        assert len(load(None)) == 8
        assert len(load(None, "dev")) == 5
        assert self.server.count == 1
        (self.home / "sst-2" / "SST-2" / "dev.tsv").write_text("damaged")
        assert len(load(None, "dev")) == 5
        assert self.server.count == 1  # the archive is still whole

    def test_a_wrong_checksum_names_what_to_give(self, sst2_copy, monkeypatch):
        monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
        self.publish(monkeypatch, sst2_copy, md5="0" * 32)
        with raises_code("download", "0" * 32, "--data_dir DIR"):
            load(None)
        assert not (self.home / "sst-2.zip").exists()

    def test_mrpc_fetches_its_three_files(self, fixtures, monkeypatch):
        downloads = {}
        for address in GLUE_TASKS["mrpc"].downloads:
            content = (fixtures / "MRPC" / address.rsplit("/", 1)[1]).read_bytes()
            self.server.files[f"/{address}"] = content
            downloads[address] = md5_of(content)
        row = replace(GLUE_TASKS["mrpc"], downloads=downloads)
        monkeypatch.setitem(GLUE_TASKS, "mrpc", row)
        assert [len(data) for data in load(None, ["train", "dev"], "mrpc")] == [8, 4]
        assert self.server.count == 3

    def test_nothing_there(self):
        with raises_code("download", 404, "--data_dir DIR", "RTE"):
            load(None, task="rte")


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "file"))
    with raises_code("not-writable", tmp_path / "file"):
        load_dataset("glue", "sst-2", splits="dev")
