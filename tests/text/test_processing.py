"""Texts to features and logits to answers."""

import numpy as np
import pytest

from convbert.text.processing import Prediction, TextProcessor
from paddlenlp.transformers import ConvBertTokenizer
from tests.helpers.errors import raises_code

# Nothing is left of these once the tokenizer has normalised them.
INVISIBLE = [
    *("", " ", "\t\n", "\u3000", "\u200b", "\u200d\ufeff", "\u00ad\u00ad", "\u202e", "\x00"),
    *("\u0301", "\ud800", "\ufffd"),
    *("\u3164", "\u2800 \u200b", "\uffa0\u1160\u115f"),
]


@pytest.fixture(scope="module")
def processor(tiny_vocab):
    return TextProcessor(ConvBertTokenizer(tiny_vocab), 16, ["negative", "positive"], 8)


@pytest.mark.parametrize("text", INVISIBLE)
@pytest.mark.parametrize("pair", [(False, None), (True, 0), (True, 1)])
def test_an_invisible_text_is_empty(processor, text, pair):
    paired, place = pair
    if paired:
        text = (text, "good") if place == 0 else ("good", text)
    with raises_code("text", "line 2"):
        processor.encode(["fine", text], places=["line 1", "line 2"])
    assert len(processor.encode([text], allow_empty=True)) == 1


def test_texts_with_words_are_not_empty(processor):
    texts = ["[SEP]", "\u200bgood", "!", "\u597d", ("a", "b"), ("[SEP]", "."), ("good " * 30, "a")]
    for settings in ({}, {"split_special_tokens": False}):
        tokenizer = ConvBertTokenizer(processor.tokenizer.vocab_file, **settings)
        for length in (3, 4, 5, 16):
            assert len(TextProcessor(tokenizer, length).encode(texts)) == len(texts)


def test_not_a_text(processor):
    for text in (3, None, ("a", 3), ()):
        with raises_code("text", "text 2"):
            processor.encode(["fine", text])


def test_the_length_of_the_tokenizer_is_kept_unless_another_is_given(tiny_vocab, tmp_path):
    ConvBertTokenizer(tiny_vocab, model_max_length=6).save_pretrained(tmp_path)
    assert TextProcessor.from_dir(str(tmp_path)).max_seq_len == 6
    assert TextProcessor.from_dir(str(tmp_path), 10).max_seq_len == 10


def test_padding_stops_at_the_longest_sequence(processor):
    shapes = {
        words + 2: processor.collate(processor.encode(["good " * words]))[0].shape[1]
        for words in (1, 6, 7, 13)
    }
    assert shapes == {3: 8, 8: 8, 9: 16, 15: 16}
    odd = TextProcessor(processor.tokenizer, 13, pad_multiple=8)
    assert odd.collate(odd.encode(["good " * 9]))[0].shape[1] == 13


def test_logits_to_answers(processor):
    first, second = processor.decode(np.array([[0.0, np.log(3)], [1000.0, -1000.0]]))
    assert (first.label_id, first.label) == (1, "positive")
    assert first.prob == pytest.approx(0.75)
    assert second == Prediction(0, 1.0, "negative")
    assert str(second) == "label_id: 0, prob: 1.0, label: negative"
    assert str(Prediction(1, 0.5, "1")) == "label_id: 1, prob: 0.5"
    assert str(Prediction(0, -2.5)) == "label_id: 0, prob: -2.5"
    assert processor.decode(np.array([[-2.5]])) == [Prediction(0, -2.5)]
