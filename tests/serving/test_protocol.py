"""What a request may hold, what an answer is, and the gRPC messages."""

import gzip
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

from convbert.serving.http.body import parse_body
from convbert.serving.protocol import ErrNo, RequestError, pack_predictions, texts_of
from convbert.text.processing import Prediction
from tests.conftest import run_python


def test_a_body_keeps_its_fields():
    body = {"key": ["text", "text"], "value": ["a", "b"], "logid": "12", "name": "x", "tensors": []}
    message = parse_body(json.dumps(body).encode())
    assert (list(message.key), list(message.value)) == (["text", "text"], ["a", "b"])
    assert (message.logid, message.name) == (12, "convbert")


BODY = '{"key": ["text"], "value": ["b\u00e4d film"]}'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-encoding": "identity"},
        {"content-encoding": "UTF-8"},
        {"content-type": "application/json; charset=UTF-8"},
        {"content-type": 'application/json; charset="utf8"'},
    ],
)
def test_utf8_with_and_without_byte_order_mark(headers):
    for body in (BODY.encode(), b"\xef\xbb\xbf" + BODY.encode()):
        assert list(parse_body(body, headers).value) == ["b\u00e4d film"]


def test_a_charset_does_not_matter_in_ascii():
    headers = {"content-type": "application/json; charset=iso-8859-1"}
    assert list(parse_body(b'{"key": ["text"], "value": ["fine"]}', headers).value) == ["fine"]


GZIP = gzip.compress(BODY.encode(), mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "status", "fact"),
    [
        (GZIP, {"content-encoding": "gzip"}, 415, "'gzip'"),
        (GZIP, {}, 415, "gzip"),
        (zlib.compress(BODY.encode()), {"content-encoding": "deflate"}, 415, "'deflate'"),
        (BODY.encode(), {"content-encoding": "br"}, 415, "'br'"),
        ("\u597d".encode("gbk"), {"content-type": "text/json;charset=GBK"}, 415, "'GBK'"),
        # Bytes that are UTF-8 too, with another meaning.
        (BODY.encode(), {"content-type": "application/json; charset=latin-1"}, 415, "'latin-1'"),
        (BODY.encode("utf-16"), {}, 400, "UTF-16"),
        (BODY.encode("utf-16-le"), {}, 400, "UTF-16"),
        (BODY.encode("utf-16-be"), {}, 400, "UTF-16"),
        (BODY.encode("utf-32"), {}, 400, "UTF-32"),
        (BODY.encode("latin-1"), {}, 400, "byte 31"),
        ('{"key": ["\u597d"]}'.encode("gbk"), {}, 400, "byte 11"),
        (b'{"key":\n ["text"}', {}, 400, "line 2, column 9"),
    ],
)
def test_a_body_in_another_form_is_named(body, headers, status, fact):
    with pytest.raises(RequestError) as caught:
        parse_body(body, headers)
    assert (caught.value.err_no, caught.value.status) == (ErrNo.BAD_REQUEST, status)
    assert fact in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"key=text", b'{"key": ["text"]', b"[1,]", b"'a'", b"\xef\xbb\xbf"]
)
def test_json_mistakes_are_not_described_by_the_library(body):
    with pytest.raises(json.JSONDecodeError) as library:
        json.loads(body.decode("utf-8-sig"))
    with pytest.raises(RequestError) as caught:
        parse_body(body)
    assert library.value.msg not in str(caught.value)


def test_a_lone_surrogate_becomes_the_replacement_character():
    message = parse_body(b'{"key": ["text"], "value": ["a\\ud800b \\ud83d\\ude00"]}')
    assert list(message.value) == ["a\ufffdb \U0001f600"]


def test_texts_and_pairs():
    assert texts_of(["text", "text"], ["a", "b"], 2, 1) == ["a", "b"]
    keys = ["text", "text_pair", "text_pair", "text"]
    assert texts_of(keys, ["a", "x", "y", "b"], 2, 1) == [("a", "x"), ("b", "y")]


def test_predictions_are_packed_as_the_first_release_printed_them():
    predictions = [Prediction(0, float(np.float32(0.9959195)), "0"), Prediction(1, 0.5, "1")]
    packed = {"label_id": "[0, 1]", "prob": "[0.9959195, 0.5]"}
    assert pack_predictions(predictions) == packed
    named = [replace(predictions[0], label="schlecht"), replace(predictions[1], label="schön")]
    assert pack_predictions(named) == {**packed, "label": '["schlecht", "schön"]'}


PREPARE = "from convbert.serving import pipeline; pipeline.prepare()\n"
_COMPARE_MESSAGES = """
from paddle_serving_server.pipeline.proto import pipeline_service_pb2 as theirs_pb2
from paddle_serving_server.proto import general_model_config_pb2 as config

from convbert.serving import protocol, served_model

def fields(descriptor):
    found = {}
    for field in descriptor.fields:
        inner = fields(field.message_type) if field.message_type else field.default_value
        found[field.name] = (field.number, field.type, field.label, inner)
    return found

for name in ("Request", "Response"):
    theirs = fields(getattr(theirs_pb2, name).DESCRIPTOR)
    del theirs["tensors"]
    assert fields(getattr(protocol, name).DESCRIPTOR) == theirs, name
ours, theirs = served_model.GeneralModelConfig.DESCRIPTOR, config.GeneralModelConfig.DESCRIPTOR
assert ours.full_name == theirs.full_name
assert fields(ours) == fields(theirs)
print("equal")
"""


def test_messages_are_those_of_paddle_serving():
    done = run_python("-c", PREPARE + _COMPARE_MESSAGES)
    assert done.stdout == "equal\n", done.stderr


_PACK_AN_INTERNAL_ERROR = """
from paddle_serving_server.pipeline import Op
from paddle_serving_server.pipeline.channel import ChannelData

from convbert.serving.pipeline.server import QuietResponseOp

secret = "/srv/models: secret text"
pack = QuietResponseOp(input_ops=[Op(name="convbert")]).pack_response_package
for code in (3001, 5000, 9000, 10000):
    error = ChannelData(error_code=code, error_info=secret, data_id=1, log_id=7)
    assert pack(error).err_no == 10000
    assert "secret" not in pack(error).err_msg
ours = {"prod_error_code": 5000, "prod_error_info": "text 1 is empty"}
error = ChannelData(error_code=50, error_info="", data_id=1, log_id=7, **ours)
print(pack(error).err_no, pack(error).err_msg)
"""


def test_an_internal_error_is_not_shown_to_clients():
    done = run_python("-c", PREPARE + _PACK_AN_INTERNAL_ERROR)
    assert done.stdout == "5000 text 1 is empty\n", done.stderr


def test_importing_the_package_sets_nothing():
    code = "import os; before = dict(os.environ)\n"
    code += "import convbert.serving.process.service, convbert.serving.protocol\n"
    code += "import convbert.serving.pipeline.runner, convbert.serving.served_model\n"
    code += "assert dict(os.environ) == before\n"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
