"""What a request may hold, the protobuf messages, and config.yml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

from convbert.serving.requests import (
    ErrNo,
    Limits,
    RequestError,
    pack_predictions,
    parse_body,
    texts_of,
)
from convbert.serving.settings import load_settings
from paddlenlp.utils.errors import UserError

LIMITS = Limits(max_texts=3, max_text_chars=10, max_body_bytes=1000)
CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "serving_python" / "config.yml"


def test_a_body_keeps_its_fields():
    body = {"key": ["text", "text"], "value": ["a", "b"], "logid": "12", "name": "x", "tensors": []}
    fields = parse_body(json.dumps(body).encode())
    assert (fields.keys, fields.values, fields.logid) == (["text", "text"], ["a", "b"], 12)


def test_a_lone_surrogate_becomes_the_replacement_character():
    fields = parse_body(b'{"key": ["text"], "value": ["a\\ud800b \\ud83d\\ude00"]}')
    assert fields.values == ["a\ufffdb \U0001f600"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b'{"key": ["text"]', "not JSON"),
        (b"[" * 100000, "not JSON"),
        (b'{"logid": ' + b"9" * 5000 + b"}", "not JSON|64 bits"),
        (b"\x93NUMPY\x01\x00", "not UTF-8"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"{}", "'key' must be a list of strings"),
        (b'{"key": "text", "value": ["a"]}', "'key' must be"),
        (b'{"key": ["text"], "value": [5]}', "'value' must be"),
        (b'{"key": ["text"], "value": [null]}', "'value' must be"),
        (b'{"key": ["text"], "value": ["a"], "logid": 1.5}', "'logid' must be an integer"),
        (b'{"key": ["text"], "value": ["a"], "logid": true}', "'logid' must be an integer"),
        (
            b'{"key": [], "value": [], "logid": "' + b"9" * 5000 + b'"}',
            "'logid' must be an integer",
        ),
        (b'{"key": ["text"], "value": ["a"], "logid": 9223372036854775808}', "64 bits"),
        (b'{"key": ["text"], "value": ["a"], "texts": 1}', "unknown field 'texts'"),
        (b'{"key": [], "value": [], "tensors": [{"elem_type": 13}]}', "tensors are not accepted"),
    ],
)
def test_a_wrong_body_is_refused(body, says):
    with pytest.raises(RequestError, match=says) as caught:
        parse_body(body)
    assert (caught.value.err_no, caught.value.status) == (ErrNo.BAD_REQUEST, 400)


def test_texts_and_pairs():
    assert texts_of(["text", "text"], ["a", "b"], LIMITS) == ["a", "b"]
    keys = ["text", "text_pair", "text_pair", "text"]
    assert texts_of(keys, ["a", "x", "y", "b"], LIMITS) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("keys", "values", "says"),
    [
        ([], [], "no text"),
        (["text"], [], "1 entries but 'value' has 0"),
        (["text"], ["a", "b"], "1 entries but 'value' has 2"),
        (["sentence"], ["a"], "unknown key 'sentence'"),
        (["pipeline.profile", "text"], ["1", "a"], "unknown key"),
        (["text"], [" \n"], "text 1 is empty"),
        (["text", "text"], ["a", ""], "text 2 is empty"),
        (["text"], ["a" * 11], "11 characters, more than 10"),
        (["text"] * 4, ["a"] * 4, "4 texts are more than 3"),
        (["text_pair"], ["a"], "no text"),
        (["text", "text", "text_pair"], ["a"] * 3, "2 'text' but 1 'text_pair'"),
        (["text", "text_pair"], ["a", "b" * 11], "11 characters"),
    ],
)
def test_wrong_texts_are_refused(keys, values, says):
    with pytest.raises(RequestError, match=says):
        texts_of(keys, values, LIMITS)


def test_predictions_are_packed_as_the_first_release_printed_them():
    probs = [float(np.float32(0.9959195)), 0.5]
    packed = pack_predictions([0, 1], probs)
    assert packed == {"label_id": "[0, 1]", "prob": "[0.9959195, 0.5]"}


_COMPARE_MESSAGES = """
from convbert.serving import messages, paddle_serving
from paddle_serving_server.proto import general_model_config_pb2 as config
from paddle_serving_server.pipeline.proto import pipeline_service_pb2 as pipeline

def fields(descriptor):
    found = []
    for field in descriptor.fields:
        inner = fields(field.message_type) if field.message_type else field.default_value
        found.append((field.name, field.number, field.type, inner))
    return descriptor.full_name, found

for name in ("Tensor", "Request", "Response"):
    theirs = getattr(pipeline, name).DESCRIPTOR
    assert fields(getattr(messages, name).DESCRIPTOR) == fields(theirs), name
ours, theirs = messages.GeneralModelConfig.DESCRIPTOR, config.GeneralModelConfig.DESCRIPTOR
assert fields(ours) == fields(theirs)
print("equal")
"""


def test_messages_are_those_of_paddle_serving(repo_root):
    # A process of its own: Paddle Serving's modules need another protobuf implementation.
    done = subprocess.run(
        [sys.executable, "-c", _COMPARE_MESSAGES],
        cwd=str(repo_root),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "equal\n", done.stderr


_PACK_AN_INTERNAL_ERROR = """
from convbert.serving.paddle_serving import Op
from convbert.serving.pipeline import DiscreetResponseOp
from paddle_serving_server.pipeline.channel import ChannelData

secret = "/srv/models: secret text"
pack = DiscreetResponseOp(input_ops=[Op(name="convbert")]).pack_response_package
for code in (3001, 5000, 9000, 10000):
    error = ChannelData(error_code=code, error_info=secret, data_id=1, log_id=7)
    print(pack(error).err_no, pack(error).err_msg)
ours = {"prod_error_code": 5000, "prod_error_info": "text 1 is empty"}
error = ChannelData(error_code=50, error_info="", data_id=1, log_id=7, **ours)
print(pack(error).err_no, pack(error).err_msg)
"""


def test_an_internal_error_is_not_shown_to_clients(repo_root):
    done = subprocess.run(
        [sys.executable, "-c", _PACK_AN_INTERNAL_ERROR],
        cwd=str(repo_root),
        capture_output=True,
        text=True,
    )
    hidden = "10000 internal error, see the server's log\n"
    assert done.stdout == hidden * 4 + "5000 text 1 is empty\n", done.stderr
    assert "secret text" in done.stderr  # the log


def test_the_shipped_config_is_valid_and_listens_on_loopback():
    settings = load_settings(str(CONFIG))
    assert (settings.http_port, settings.rpc_port) == (18080, 9993)
    assert (settings.host, settings.rpc_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.model_dir == str(CONFIG.parent / "convbert_server")
    assert not settings.engine_options().use_gpu
    assert settings.service["max_in_flight"] <= settings.config["worker_num"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("worker_number=3", "unknown key 'worker_number'.*did you mean 'worker_num'"),
        ("op.convbert.concurency=3", "did you mean 'concurrency'"),
        ("worker_num=0", "'worker_num' is 0, expected an integer from 1"),
        ("worker_num=true", "expected an integer"),
        ("dag.retry=2", "'dag.retry' is 2, expected 1.*deadlocks"),
        ("dag.channel_size=2", "deadlocks"),
        ("rpc_port=80", "from 1024 to 65535"),
        ("rpc_port=18080", "both 18080"),
        ("op.convbert.local_service_conf.device_type=3", "by devices, cpu, gpu"),
        ("op.convbert.local_service_conf.devices=x", "must list GPU numbers"),
        ("service.request_timeout_s=soon", "a number from"),
        ("service=5", "must be a table"),
        ("nonsense", "write KEY=VALUE"),
        ("a.b=1", "there is no section 'a'"),
    ],
)
def test_a_wrong_setting_names_itself(override, says):
    with pytest.raises(UserError, match=says):
        load_settings(str(CONFIG), [override])


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "cannot read --config"), (": :", "is not YAML"), ("", "is empty"), ("a: 1", "'a'")],
)
def test_a_wrong_config_file_names_itself(tmp_path, text, says):
    path = tmp_path / "config.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=says):
        load_settings(str(path))


def test_gpus_are_dealt_out_to_workers():
    override = ["op.convbert.local_service_conf.devices=1,3"]
    settings = load_settings(str(CONFIG), override)
    options = [settings.engine_options(worker) for worker in range(3)]
    assert [(o.use_gpu, o.gpu_id) for o in options] == [(True, 1), (True, 3), (True, 1)]


def test_cpu_with_gpu_numbers_is_a_contradiction():
    local = "op.convbert.local_service_conf"
    with pytest.raises(UserError, match="device_type 0 is the CPU but devices names GPUs"):
        load_settings(str(CONFIG), [f"{local}.device_type=0", f"{local}.devices=0"])
