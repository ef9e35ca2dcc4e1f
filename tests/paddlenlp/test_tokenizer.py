"""ConvBertTokenizer: ids recorded from the reference, upstream's call form, files, bad input."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from paddlenlp.datasets import load_dataset
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.transformers.convbert import tokenizer as tokenizer_module
from tests.helpers.errors import raises_code
from tests.reference.tokenizer_golden import SST2_LENGTH, batches, digest, our_ids

CLS, SEP, PAD, UNK = 2, 3, 0, 1  # the ids in `tiny_vocab`


@pytest.fixture(scope="module")
def golden(repo_root):
    path = repo_root / "tests" / "fixtures" / "tokenizer_golden.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def tokenizer(tiny_vocab):
    return ConvBertTokenizer(tiny_vocab)


@pytest.mark.parametrize("split", [True, False])
def test_ids_equal_the_reference_on_hard_cases(golden, repo_root, split):
    vocab = repo_root / "data" / "reviews" / "vocab.txt"
    tokenizer = ConvBertTokenizer(vocab, split_special_tokens=split)
    cases = [case for case in golden["cases"] if case["split"] is split]
    assert len(cases) > 40
    for _ in ("new words", "cached words"):
        for case in cases:
            ids = our_ids(tokenizer, case["text"], case["pair"], case["max_seq_len"])
            assert ids == [case["input_ids"], case["token_type_ids"]], case["text"]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_ids_equal_the_reference_on_sst2(golden, shared_data, split):
    tokenizer = ConvBertTokenizer(shared_data / "vocab" / "vocab.txt")
    examples = load_dataset("glue", "sst-2", splits=split, data_dir=shared_data / "SST-2")
    texts = [example["sentence"] for example in examples]
    ids = (
        row.input_ids
        for batch in batches(texts)
        for row in tokenizer.batch_encode(batch, SST2_LENGTH)
    )
    assert golden["sst-2"][split] == {"rows": len(texts), "sha256": digest(ids)}


def test_string_gives_lists_and_list_gives_lists_of_lists(tokenizer):
    one = tokenizer("a good film")
    assert one["input_ids"][0] == CLS
    assert one["input_ids"][-1] == SEP
    assert one["token_type_ids"] == [0] * 5
    assert set(one) == {"input_ids", "token_type_ids"}
    many = tokenizer(["a good film", "dull"])
    assert many["input_ids"][0] == one["input_ids"]
    assert [len(ids) for ids in many["input_ids"]] == [5, 3]
    assert tokenizer([])["input_ids"] == []


def test_pairs_in_both_forms(tokenizer):
    expected = tokenizer("good film", "bad story")
    assert expected["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer(["good film"], ["bad story"])["input_ids"] == [expected["input_ids"]]
    assert tokenizer([("good film", "bad story")])["input_ids"] == [expected["input_ids"]]


def test_singles_and_pairs_in_one_batch(tokenizer):
    mixed = tokenizer.batch_encode(["good", ("good film", "bad"), "dull"], 16)
    alone = [tokenizer.batch_encode([text], 16)[0] for text in ("good", ("good film", "bad"))]
    assert mixed[:2] == alone
    assert mixed[2].input_ids == tokenizer("dull")["input_ids"]


@pytest.mark.parametrize("pair", ["b", ["a", "b"]])
def test_unequal_lists_are_refused(tokenizer, pair):
    with pytest.raises(ValueError, match="text_pair"):
        tokenizer(["a"], pair)


def test_truncation_is_reported_and_exact(tokenizer):
    whole, cut = tokenizer.batch_encode(["good " * 6, "good " * 7], 8)
    assert (whole.truncated, cut.truncated) == (False, True)
    assert whole.input_ids == cut.input_ids
    assert cut.input_ids[-1] == SEP


def test_no_bound_means_the_length_of_the_model(tiny_vocab):
    tokenizer = ConvBertTokenizer(tiny_vocab, model_max_length=10)
    assert len(tokenizer("good " * 50)["input_ids"]) == 10
    assert len(tokenizer("good " * 50, max_seq_len=12)["input_ids"]) == 12


@pytest.mark.parametrize(("texts", "length"), [(["a"], 1), ([("a", "b")], 2)])
def test_no_room_for_special_tokens_is_refused(tokenizer, texts, length):
    with pytest.raises(ValueError, match=rf"\b{length}\b"):
        tokenizer.batch_encode(texts, length)


def test_padding_mask_and_length(tokenizer):
    row = tokenizer(
        "a good film",
        max_seq_len=8,
        pad_to_max_seq_len=True,
        return_attention_mask=True,
        return_length=True,
    )
    assert row["input_ids"][5:] == [PAD] * 3
    assert row["token_type_ids"] == [0] * 8
    assert row["attention_mask"] == [1] * 5 + [0] * 3
    assert row["seq_len"] == 5


def test_literal_special_tokens_cannot_forge_a_boundary(tokenizer):
    ids = tokenizer("good [SEP] bad [PAD]")["input_ids"]
    assert ids.count(SEP) == 1
    assert PAD not in ids


def test_lone_surrogates_are_dropped_and_pairs_joined(tokenizer):
    assert tokenizer("good \ud83d film")["input_ids"] == tokenizer("good film")["input_ids"]
    joined = tokenizer("\ud83d\ude00")["input_ids"]
    assert joined == tokenizer("\U0001f600")["input_ids"] == [CLS, UNK, SEP]


def test_what_is_not_a_string_is_a_type_error(tokenizer):
    with pytest.raises(TypeError):
        tokenizer.batch_encode([("a", 3)], 8)
    with pytest.raises(TypeError):
        tokenizer.batch_encode([3], 8)


def test_tokens_and_ids(tokenizer):
    pieces = ["film", "##s", "act", "##ed", ",", "[UNK]"]
    assert tokenizer.tokenize("Films acted, unwatched") == pieces
    ids = tokenizer.convert_tokens_to_ids(["film", "nothing"])
    assert ids[1] == tokenizer.unk_token_id
    assert tokenizer.convert_ids_to_tokens(ids) == ["film", "[UNK]"]
    for bad in (tokenizer.vocab_size, -1):
        with pytest.raises(IndexError):
            tokenizer.convert_ids_to_tokens([bad])


def test_the_word_cache_stays_small_and_right(tiny_vocab, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "CACHED_WORDS", 3)
    monkeypatch.setattr(tokenizer_module, "CACHED_WORD_CHARS", 5)
    tokenizer = ConvBertTokenizer(tiny_vocab)
    fresh = ConvBertTokenizer(tiny_vocab)
    texts = ["good film", "problem things", "bad dull plot", "a good dull film", "good"]
    for text in texts * 2:
        fresh._word_cache = {}
        assert tokenizer(text) == fresh(text)
        assert len(tokenizer._word_cache) <= 3
        assert all(len(word) <= 5 for word in tokenizer._word_cache)


def test_threads_share_a_tokenizer(tiny_vocab, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "CACHED_WORDS", 8)
    tokenizer = ConvBertTokenizer(tiny_vocab)
    words = ["good", "film", "bad", "dull", "plot", "story", "these", "most", "act", "fine"]
    texts = [f"{first} {second}" for first in words for second in words]
    expected = ConvBertTokenizer(tiny_vocab).batch_encode(texts, 8)
    with ThreadPoolExecutor(4) as threads:
        rows = threads.map(lambda text: tokenizer.batch_encode([text], 8)[0], texts * 20)
    assert list(rows) == expected * 20


def test_pickle_keeps_the_ids(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy("a good film") == tokenizer("a good film")


def test_save_and_load(tiny_vocab, tmp_path):
    tokenizer = ConvBertTokenizer(
        tiny_vocab, do_lower_case=False, label_names=("no", "yes"), model_max_length=64
    )
    tokenizer.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"manifest.json", "tokenizer_config.json", "vocab.txt"}
    loaded = ConvBertTokenizer.from_pretrained(tmp_path)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.label_names == ["no", "yes"]
    assert (loaded.do_lower_case, loaded.model_max_length) == (False, 64)
    assert loaded("Good good") == tokenizer("Good good")
    assert ConvBertTokenizer.from_pretrained(tmp_path, do_lower_case=True).do_lower_case


def test_a_directory_with_a_vocabulary_alone_is_enough(tiny_vocab):
    assert ConvBertTokenizer.from_pretrained(tiny_vocab.parent).do_lower_case


def test_settings_of_other_writers_are_understood(tiny_vocab, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(tiny_vocab.read_bytes().replace(b"\n", b"\r\n"))
    config = {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = ConvBertTokenizer.from_pretrained(tmp_path)
    assert not tokenizer.do_lower_case
    assert tokenizer("a good film") == ConvBertTokenizer(tiny_vocab)("a good film")


@pytest.mark.parametrize(
    ("content", "code", "fact"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "vocabulary", "[MASK]"),
        (b"[PAD]\n\xff\n", "encoding", "vocab.txt"),
        (b"", "vocabulary", "[PAD]"),
    ],
)
def test_bad_vocabularies(tmp_path, content, code, fact):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with raises_code(code, fact):
        ConvBertTokenizer(path)


def test_missing_files_and_names(tmp_path):
    with raises_code("vocabulary", "vocab.txt"):
        ConvBertTokenizer.from_pretrained(tmp_path)
    with raises_code("model-name", "convbert-base"):
        ConvBertTokenizer.from_pretrained("convbert-huge")
    with raises_code("file-missing", "none.txt"):
        ConvBertTokenizer(tmp_path / "none.txt")


def test_the_vocabulary_of_the_reviews_can_be_rebuilt(call_script, repo_root, tmp_path):
    reviews = repo_root / "data" / "reviews"
    done = call_script("tools/build_vocab.py", "--data_dir", reviews, "--output", "vocab.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vocab.txt").read_bytes() == (reviews / "vocab.txt").read_bytes()
