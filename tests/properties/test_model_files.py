"""Configurations, weights, programs, tokenizer files and vocabularies of others."""

import json
import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convbert.inference.finite import check_finite, paddle_weights
from paddlenlp.transformers import ConvBertConfig, ConvBertTokenizer
from paddlenlp.transformers.checkpoint import read_model_config, read_weights
from paddlenlp.utils.parsing import parse_json
from paddlenlp.utils.products import verify
from tests.properties.bounds import bounded, read_or_refused, tables, values, words

FIELDS = (*ConvBertConfig.__dataclass_fields__, "num_labels", "id2label", "label2id", "init_args")
CONFIGURATIONS = tables(
    *FIELDS,
    *("model_type", "architectures", "problem_type", "pruned_heads", "quantization_config"),
    hidden_size=st.integers(-1, 2**70),
    num_hidden_layers=st.integers(-1, 2**70),
    num_classes=st.integers(-1, 5),
)


@bounded
@given(CONFIGURATIONS)
def test_configuration(tmp_path, raw):
    path = tmp_path / "model_config.json"
    path.write_text(json.dumps(raw))
    raw = read_or_refused(lambda: read_model_config(str(path)))
    config = raw is not None and read_or_refused(lambda: ConvBertConfig.from_dict(raw, str(path)))
    if config:
        assert config.num_classes > 0


TOKENIZER = tables(
    *("do_lower_case", "strip_accents", "model_max_length", "label_names", "pad_token"),
    *("unk_token", "truncation_side", "added_tokens_decoder", "additional_special_tokens"),
    *("tokenizer_class", "never_split", "padding_side", "extra_special_tokens", "id2label"),
)
PACKED = tables(
    *("normalizer", "pre_tokenizer", "post_processor", "truncation", "added_tokens"),
    model=tables("unk_token", type=st.just("WordPiece"), vocab=st.dictionaries(words, values))
    | values,
    normalizer=tables("lowercase", "clean_text", type=st.just("BertNormalizer")) | values,
    post_processor=tables("single", "pair", type=st.just("TemplateProcessing")) | values,
    added_tokens=st.lists(tables("content", "id", "special", "lstrip"), max_size=2) | values,
)


@bounded
@given(TOKENIZER | values, PACKED | values, values, values)
def test_tokenizer_files(tmp_path, tiny_vocab, config, packed, special, added):
    (tmp_path / "vocab.txt").write_bytes(tiny_vocab.read_bytes())
    files = {"tokenizer_config.json": config, "tokenizer.json": packed}
    files |= {"special_tokens_map.json": special, "added_tokens.json": added}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
        if not content:  # the others are looked at only where this one says nothing
            (tmp_path / name).unlink()
    read_or_refused(lambda: ConvBertTokenizer.from_pretrained(str(tmp_path)))


@bounded
@given(
    st.binary() | st.lists(words, max_size=5).map(lambda w: "\n".join(w).encode("utf-8", "ignore"))
)
def test_vocabulary(tmp_path, content):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content + b"\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    tokenizer = read_or_refused(lambda: ConvBertTokenizer(str(path)))
    if tokenizer:
        tokenizer.batch_encode(["a [SEP] \x00 b"], max_seq_len=8)


GOOD = pickle.dumps({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, protocol=4)


@st.composite
def damaged(draw, good: bytes) -> bytes:
    """A file with some bytes replaced and perhaps its end cut off."""
    data = bytearray(good)
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)))
    ):
        data[place] = byte
    return bytes(data[: draw(st.integers(0, len(good)) | st.just(len(good)))])


@bounded
@given(damaged(GOOD) | st.binary(max_size=40).map(lambda tail: b"\x80\x04" + tail + b"."))
def test_weights(tmp_path, content):
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(content)
    found = read_or_refused(lambda: read_weights(str(path)))
    assert found is None or all(isinstance(array, np.ndarray) for array in found.values())


@bounded
@given(st.data())
def test_weights_of_a_program(tmp_path, tiny_export, data):
    params = (tiny_export / "inference.pdiparams").read_bytes()[:3000]
    path = tmp_path / "weights"
    path.write_bytes(data.draw(damaged(params) | st.binary()))
    read_or_refused(lambda: check_finite(str(path), paddle_weights(str(path))))


@bounded
@given(values | tables("kind", files=st.dictionaries(words, tables("size", "sha256"))))
def test_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    read_or_refused(lambda: verify(tmp_path))


@bounded
@given(values)
def test_json_keeps_its_values(value):
    def parse():
        try:
            return parse_json(json.dumps(value))
        except ValueError:
            return None

    assert parse() in (value, None)
