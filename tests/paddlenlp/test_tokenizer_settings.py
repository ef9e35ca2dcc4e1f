"""Every tokenizer setting changes the ids as in transformers, or is refused by name."""

import json

import pytest

from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer
from paddlenlp.transformers.convbert.conversion import convert
from paddlenlp.transformers.tokenizer_settings import padding_id
from tests.helpers.errors import raises_code
from tests.reference.tokenizer_settings_golden import (
    ASSUMED,
    NEXT,
    SETTINGS,
    WORDS,
    added,
    decoder,
    ours,
    packed,
    write,
)

CONFIG = "tokenizer_config.json"


@pytest.fixture(scope="module")
def golden(repo_root):
    path = repo_root / "tests" / "fixtures" / "tokenizer_settings_golden.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SETTINGS)
def test_ids_equal_the_reference_also_after_saving(golden, tmp_path, name):
    folder = write(tmp_path / "given", SETTINGS[name])
    assert ours(folder) == golden[name]
    given = SETTINGS[name].get(CONFIG, {})
    assumed = {key: value for key, value in ASSUMED.items() if key not in given}
    ConvBertTokenizer.from_pretrained(folder, **assumed).save_pretrained(tmp_path / "saved")
    assert ours(tmp_path / "saved") == golden[name]


REFUSED = {
    "never_split": {CONFIG: {"never_split": ["Good"]}},
    "do_basic_tokenize": {CONFIG: {"do_basic_tokenize": False}},
    "padding_side": {CONFIG: {"padding_side": "left"}},
    "tokenizer_class": {CONFIG: {"tokenizer_class": "BertJapaneseTokenizer"}},
    "do_lower_case": {CONFIG: {"do_lower_case": "yes"}},
    "strip_accents": {CONFIG: {"strip_accents": 1}},
    "model_max_length": {CONFIG: {"model_max_length": "x"}},
    "truncation_side": {CONFIG: {"truncation_side": "middle"}},
    "BertNormalizer": {"tokenizer.json": packed(type="NFC")},
    "clean_text": {"tokenizer.json": packed(clean_text=False)},
    "max_input_chars_per_word": {
        "tokenizer.json": {
            **packed(),
            "model": {**packed()["model"], "max_input_chars_per_word": 9},
        }
    },
    "post_processor": {
        "tokenizer.json": {
            **packed(),
            "post_processor": {**packed()["post_processor"], "single": [], "pair": []},
        }
    },
    "added token": {
        **decoder(added("york")),
        "tokenizer.json": packed([{"id": NEXT, **added("york", lstrip=True)}]),
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path, name):
    write(tmp_path, REFUSED[name])
    with raises_code("tokenizer", name, ".json"):
        ConvBertTokenizer.from_pretrained(tmp_path)


def test_files_that_contradict_each_other_are_refused(tmp_path):
    write(tmp_path, {CONFIG: {"do_lower_case": True}, "tokenizer.json": packed(lowercase=False)})
    with raises_code("tokenizer", "do_lower_case", CONFIG, "tokenizer.json"):
        ConvBertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_damaged_settings(tmp_path, content):
    write(tmp_path, {})
    (tmp_path / CONFIG).write_text(content)
    with raises_code("file-damaged", CONFIG):
        ConvBertTokenizer.from_pretrained(tmp_path)


def test_an_added_token_keeps_its_id_or_is_refused(tmp_path):
    write(tmp_path / "far", {CONFIG: {"added_tokens_decoder": {str(NEXT + 4): added("york")}}})
    with raises_code("vocabulary", "york", NEXT + 4):
        ConvBertTokenizer.from_pretrained(tmp_path / "far")
    tokenizer = ConvBertTokenizer.from_pretrained(write(tmp_path / "next", decoder(added("york"))))
    assert tokenizer.convert_ids_to_tokens([NEXT]) == ["york"]
    assert tokenizer.vocab_size == NEXT + 1


def test_the_last_of_repeated_lines_wins_and_all_are_kept(tmp_path):
    lines = [*WORDS, "good", "last"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    tokenizer = ConvBertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab["good"] == len(WORDS)
    assert tokenizer.vocab["last"] == len(WORDS) + 1
    assert tokenizer.vocab_size == len(lines)
    assert tokenizer("good")["input_ids"][1] == len(WORDS)
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = (tmp_path / "saved" / "vocab.txt").read_text(encoding="utf-8")
    assert saved.splitlines() == lines


def test_ids_that_tokenizer_json_skips_stay_free(tmp_path):
    write(tmp_path, {"tokenizer.json": packed(gaps=(40, 41))})
    tokenizer = ConvBertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab_size == len(WORDS)
    assert tokenizer.vocab[WORDS[42]] == 42
    assert not {40, 41} & set(tokenizer(" ".join(WORDS) + " [gap 40]")["input_ids"])
    tokenizer.save_pretrained(tmp_path / "saved")
    assert ConvBertTokenizer.from_pretrained(tmp_path / "saved").vocab == tokenizer.vocab


def test_two_vocabularies_that_differ_are_refused(tmp_path):
    write(tmp_path, {"tokenizer.json": packed()})
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS[:-2], "x1", "x2"]) + "\n")
    with raises_code("vocabulary", "vocab.txt", "tokenizer.json"):
        ConvBertTokenizer.from_pretrained(tmp_path)


def test_what_is_assumed_is_printed(tmp_path, capsys):
    ConvBertTokenizer.from_pretrained(write(tmp_path, {}))
    assert "do_lower_case=True, split_special_tokens=True" in capsys.readouterr().err
    given = {CONFIG: {"do_lower_case": True, "split_special_tokens": False}}
    ConvBertTokenizer.from_pretrained(write(tmp_path, given))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("pad", "number"), [("[PAD]", 0), ("pad", WORDS.index("pad"))])
def test_the_padding_word_may_have_another_name(tmp_path, pad, number):
    write(tmp_path, {CONFIG: {"pad_token": pad}})
    assert padding_id(tmp_path) == number
    assert ConvBertTokenizer.from_pretrained(tmp_path).pad_token_id == number


def test_settings_survive_conversion_both_ways(tiny_checkpoint, tmp_path):
    settings = {
        "do_lower_case": False,
        "strip_accents": True,
        "tokenize_chinese_chars": False,
        "truncation_side": "left",
        "split_special_tokens": False,
        "model_max_length": 32,
    }
    source = tmp_path / "source"
    model = ConvBertForSequenceClassification.from_pretrained(str(tiny_checkpoint))
    model.save_pretrained(str(source))
    tokenizer = ConvBertTokenizer(tiny_checkpoint / "vocab.txt", **settings)
    tokenizer.save_pretrained(source)
    convert(str(source), str(tmp_path / "hf"), "hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "back"), "paddle")
    for name in ("hf", "back"):
        found = ConvBertTokenizer.from_pretrained(tmp_path / name)
        assert {key: getattr(found, key) for key in settings} == settings
