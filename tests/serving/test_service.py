"""The real service over real HTTP and gRPC: answers, wrong requests, security, limits."""

import base64
import gzip
import json
import os
import pickle
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import grpc

from convbert.command.flags import DEFAULT_SENTENCE
from convbert.inference.protobuf import Field, build_messages
from convbert.serving.config import load_settings
from convbert.serving.pipeline.runner import Runner
from convbert.serving.protocol import INFERENCE_METHOD, Request, Response, unary_call
from convbert.serving.served_model import convert
from tests.conftest import TINY_WORDS
from tests.helpers.errors import raises_code
from tests.helpers.local_server import free_port
from tests.helpers.pickles import Call
from tests.helpers.serving import HTTP_CLIENT, RPC_CLIENT, SERVING, Served, listening
from tests.helpers.weights import fill_row

INFER = "deploy/inference_python/infer.py"
TEXTS = ["a good film .", "the script is bad", "it was a very dull story , not good !", "fine"]
ONE = {"key": ["text"], "value": ["fine"]}


@pytest.fixture(scope="module")
def files_before(model_dir):
    """What lies beside the scripts and in the served model before the service is started."""
    folders = SERVING, SERVING.parents[1] / "convbert", model_dir
    return {folder: files_of(folder) for folder in folders}


@pytest.fixture(scope="module")
def service(tmp_path_factory, model_dir, files_before):
    """A running service with the shipped settings."""
    with Served(model_dir, tmp_path_factory.mktemp("run")) as served:
        yield served


@pytest.fixture(scope="module")
def rpc(service):
    """Return ``call(message)``: send a Request over gRPC."""
    with grpc.insecure_channel(service.address) as channel:
        call = unary_call(channel)
        yield lambda message: call(message, timeout=60)


def values(answer):
    """The label ids and probabilities of an answer."""
    assert answer["err_no"] == 0, answer
    assert answer["key"] == ["label_id", "prob", "label"]
    return [json.loads(value) for value in answer["value"][:2]]


def test_the_answer_has_the_form_of_the_first_release(service):
    status, answer = service.ask(DEFAULT_SENTENCE)
    assert status == 200
    assert list(answer) == ["err_no", "err_msg", "key", "value", "tensors"]
    assert re.fullmatch(r"\[\d\]", answer["value"][0])
    assert re.fullmatch(r"\[[01]\.\d+\]", answer["value"][1])
    names = ["negative", "positive"]
    assert json.loads(answer["value"][2]) == [names[int(answer["value"][0][1])]]
    assert (answer["err_msg"], answer["tensors"]) == ("", [])


def test_probabilities_are_those_of_infer(service, call_script, tiny_export, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    flags = ["--input_file", "in.txt", "--output_file", "out.jsonl", "--max_seq_len", "64"]
    inferred = call_script(INFER, "--model_dir", tiny_export, *flags)
    assert inferred.returncode == 0, inferred.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for text, row in zip(TEXTS, rows):
        labels, probs = values(service.ask(text)[1])
        assert labels == [row["label_id"]]
        assert probs == pytest.approx([row["prob"]], abs=1e-5)


def test_other_texts_in_a_request_or_in_a_batch_change_no_answer(service):
    texts = [TEXTS[index % 4] + " the" * (index % 31) for index in range(60)]
    alone = [values(service.ask(text)[1]) for text in texts]
    labels, probs = values(service.ask(*texts)[1])
    assert labels == [label for (label,), _ in alone]
    np.testing.assert_allclose(probs, [prob for _, (prob,) in alone], atol=1e-5)
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda text: values(service.ask(text)[1]), texts))
    assert [label for label, _ in together] == [label for label, _ in alone]
    np.testing.assert_allclose(
        [prob for _, (prob,) in together], [prob for _, (prob,) in alone], atol=1e-5
    )


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs requirements-serving.txt")
def test_the_shipped_service_runs_openvino_and_answers_as_paddle(service, model_dir, tmp_path):
    opt = "op.convbert.local_service_conf.engine=paddle"
    with Served(model_dir, tmp_path / "run", opt) as other:
        labels, probs = values(other.ask(*TEXTS)[1])
        for each, engine in ((service, "openvino"), (other, "paddle")):
            health = each.health()
            assert (health["engine"], health["precision"]) == (engine, "fp32")
            assert re.search(rf'convbert_engine_info{{.*engine="{engine}".*}} 1.0', each.metrics())
            assert f"engine {engine}, precision fp32" in each.log()
            loaded = {Path(file.path).name for file in each.pipeline.memory_maps()}
            assert any("libpaddle" in name for name in loaded) is (engine == "paddle")
    assert labels == values(service.ask(*TEXTS)[1])[0]
    assert probs == pytest.approx(values(service.ask(*TEXTS)[1])[1], abs=1e-5)


def test_pairs_differ_from_their_first_sentence(service):
    pair = {"key": ["text", "text_pair"], "value": TEXTS[:2]}
    assert values(service.http(pair)[1]) != values(service.ask(TEXTS[0])[1])


HUGE = "word " * 1_000_000
WRONG_REQUESTS = {
    "empty body": b"",
    "deep JSON": b"[" * 100000,
    "binary": bytes(range(256)) * 20,
    "array": b"[1, 2]",
    "no fields": {},
    "no text": {"key": [], "value": []},
    "no key": {"value": ["fine"]},
    "wrong key": {"key": ["sentence"], "value": ["fine"]},
    "profile key": {"key": ["text", "pipeline.profile"], "value": ["fine", "1"]},
    "empty text": {"key": ["text"], "value": [""]},
    "blank text": {"key": ["text", "text"], "value": ["fine", " \t"]},
    "number": {"key": ["text"], "value": [5]},
    "nothing": {"key": ["text"], "value": [None]},
    "not a list": {"key": "text", "value": "fine"},
    "fewer values": {"key": ["text", "text"], "value": ["fine"]},
    "more values": {"key": ["text"], "value": ["fine", "bad"]},
    "half a pair": {"key": ["text", "text", "text_pair"], "value": ["fine"] * 3},
    "second half of a pair": {"key": ["text_pair"], "value": ["fine"]},
    "unknown field": {**ONE, "sentence": "fine"},
    "log id that is a word": {**ONE, "logid": "x"},
    "log id with a fraction": {**ONE, "logid": 1.5},
    "log id that is true": {**ONE, "logid": True},
    "log id of 65 bits": {**ONE, "logid": 2**63},
    "log id of 5000 digits": b'{"key": [], "value": [], "logid": ' + b"9" * 5000 + b"}",
    "log id text of 5000 digits": {**ONE, "logid": "9" * 5000},
    "largest body": b'{"key":["text"],"value":["%s"]}' % (b"x" * (4194304 - 29)),
    "long text": {"key": ["text"], "value": [HUGE[:20_000]]},
    "long second text": {"key": ["text", "text_pair"], "value": ["fine", HUGE[:20_000]]},
    "many texts": {"key": ["text"] * 65, "value": ["fine"] * 65},
}


@pytest.mark.parametrize("case", WRONG_REQUESTS)
def test_a_wrong_request_is_refused_and_the_service_goes_on(service, case):
    status, answer = service.http(WRONG_REQUESTS[case])
    assert (status, answer["err_no"], answer["value"]) == (400, 5000, [])
    assert answer["err_msg"]
    assert "/" not in answer["err_msg"]  # no path
    assert service.http(ONE)[0] == 200


def test_a_compressed_body_is_refused_and_a_byte_order_mark_is_not(service):
    body = json.dumps(ONE).encode()
    status, answer = service.http(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (status, answer["err_no"]) == (415, 5000)
    assert "gzip" in answer["err_msg"]
    assert service.http(b"\xef\xbb\xbf" + body) == service.http(body)


def test_a_body_that_is_too_large_is_refused(service):
    status, answer = service.http({"key": ["text"], "value": [HUGE]})
    assert (status, answer["err_no"]) == (413, 5000)
    assert service.http(ONE)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/", 404),
        ("POST", "/other/prediction", 404),
        ("POST", "/convbert/anything", 404),
        ("POST", "/convbert/prediction/", 404),
        ("GET", "/convbert/prediction", 405),
        ("PUT", "/convbert/prediction", 405),
        ("POST", "/health", 405),
    ],
)
def test_a_wrong_path_or_method_is_refused(service, method, path, expected):
    status, answer = service.http(ONE, path=path, method=method)
    assert (status, answer["err_no"]) == (expected, 3002)


def test_a_body_that_lies_about_its_length_is_bounded(service):
    address, head = ("127.0.0.1", service.port), b"POST /convbert/prediction HTTP/1.1\r\nHost: x"
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(head + b"\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%b\r\n" % (2**20, b"x" * 2**20)
        with pytest.raises(ConnectionError):
            connection.sendall(chunk * 64)
    assert service.http(ONE)[0] == 200


@pytest.mark.parametrize(
    "message",
    [
        Request(name="convbert"),
        Request(name="convbert", key=["text"]),
        Request(name="convbert", key=["text"], value=[""]),
        Request(name="convbert", key=["a/b"], value=["fine"]),
        Request(name="convbert", key=["text"], value=["x" * 20_000]),
        Request(key=["text"] * 65, value=["fine"] * 65),
    ],
)
def test_a_wrong_rpc_request_is_refused(rpc, message):
    response = rpc(message)
    assert response.err_no == 5000
    assert response.err_msg
    assert rpc(Request(key=["text"], value=["fine"])).err_no == 0


def test_another_service_name_and_a_huge_message_are_refused(service, rpc):
    assert rpc(Request(name="o\nFORGED", key=["text"], value=["fine"])).err_no == 3002
    assert "FORGED" not in service.log()
    with pytest.raises(grpc.RpcError) as caught:
        rpc(Request(name="convbert", key=["text"], value=[HUGE]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc(Request(key=["text"], value=["fine"])).err_no == 0


@pytest.fixture
def runner(model_dir):
    """The model as a worker opens it."""
    opts = ["service.max_seq_len=64", "service.run_texts=3"]
    return Runner(load_settings(str(SERVING / "config.yml"), opts, str(model_dir)))


@pytest.mark.parametrize("row", [-1, len(TINY_WORDS)])
def test_a_token_id_outside_the_vocabulary_is_refused(runner, monkeypatch, row):
    """In the embedding table it would be another word's row, or a segmentation fault."""
    features = runner.encode(["fine"])
    features[0].input_ids[1] = row
    monkeypatch.setattr(runner.processor, "encode", lambda texts: features)
    with raises_code("token-id"):
        runner.encode(["fine"])


def test_each_text_is_run_at_its_own_length(runner, monkeypatch):
    """Padded to a multiple of 4 with texts of similar length, not to the longest of all."""
    shapes, run = [], runner._engine.run
    monkeypatch.setattr(
        runner._engine, "run", lambda ids, _: shapes.append(ids.shape) or run(ids, _)
    )
    features = runner.encode(["fine", "good " * 40, "a film", "bad", "dull"])
    assert runner.run(features).shape == (5, 2)
    assert sorted(shapes) == [(2, 4), (3, 44)]
    separate = np.concatenate([runner.run([feature]) for feature in features])
    np.testing.assert_allclose(runner.run(features), separate, atol=1e-5)


def test_a_pickle_in_tensors_is_never_loaded(service, tmp_path):
    tensor = {
        "name": Field(23, "string"),
        "elem_type": Field(20, "int32"),
        "byte_data": Field(10, "bytes"),
    }
    text = {"key": Field(1, "string", True), "value": Field(2, "string", True)}
    request = {**text, "tensors": Field(3, "Tensor", True)}
    hostile = build_messages("hostile", "proto3", {"Tensor": tensor, "Request": request})
    marker = tmp_path / "marker"
    data = pickle.dumps(Call(os.mkdir, str(marker)))  # what an attacker would do, harmlessly
    with grpc.insecure_channel(service.address) as channel:
        call = channel.unary_unary(
            INFERENCE_METHOD, hostile["Request"].SerializeToString, Response.FromString
        )
        for elem_type in (0, 12, 13):
            tensor = {"name": "text", "elem_type": elem_type, "byte_data": data}
            assert call(hostile["Request"](**ONE, tensors=[tensor]), timeout=60).err_no == 5000
            tensor["byte_data"] = base64.b64encode(data).decode()
            status, answer = service.http({**ONE, "tensors": [tensor]})
            assert (status, answer["err_no"]) == (400, 5000)
    assert not marker.exists()


def test_errors_show_no_text(service):
    secret = "mysecretword"
    assert secret not in service.ask(secret * 5000)[1]["err_msg"]
    service.http({"key": [secret], "value": ["fine"]})
    service.ask(secret, "")
    assert secret not in service.log()


def test_both_ports_listen_on_loopback_only(service):
    assert listening(service.port) == listening(service.rpc_port) == {"127.0.0.1"}


def test_weights_that_overflow_for_one_word(tiny_export, tiny_checkpoint, tmp_path):
    """They are finite, so that only a text with that word shows it: it gets an error, no label."""
    export = shutil.copytree(tiny_export, tmp_path / "export")
    fill_row(export / "inference.pdiparams", tiny_checkpoint, "story", 3e38)
    convert(str(export), str(tmp_path / "server"), str(tmp_path / "client"))
    with Served(tmp_path / "server", tmp_path / "run") as served:
        label, prob = values(served.ask("fine")[1])
        for texts in (["story"], ["fine", "a dull story"]):
            status, answer = served.ask(*texts)
            assert answer.pop("err_msg")
            # Nothing else is in the body, so no NaN, which JSON does not have.
            assert answer == {"err_no": 10000, "key": [], "value": [], "tensors": []}
            assert status == 500
        with ThreadPoolExecutor(8) as threads:  # in one batch with the texts of others
            found = list(threads.map(served.ask, ["fine", "story"] * 20))
        assert [values(answer)[0] for _, answer in found[::2]] == [label] * 20
        probs = [values(answer)[1] for _, answer in found[::2]]
        np.testing.assert_allclose(probs, [prob] * 20, atol=1e-5)
        assert {(status, answer["err_no"]) for status, answer in found[1::2]} == {(500, 10000)}
        assert counted(served, "10000") == 22
        health = served.health()
        assert (health["status"], health["restarts"]) == ("ready", 0)  # for the other texts
        with grpc.insecure_channel(served.address) as channel:
            message = Request(key=["text"], value=["story"])
            assert unary_call(channel)(message, timeout=60).err_no == 10000


def test_health_and_metrics(service):
    status, body = service.http(path="/health", method="GET")
    assert (status, body["status"], body["restarts"]) == (200, "ready", 0)
    before = counted(service, "0")
    service.ask("fine")
    service.ask("")
    assert counted(service, "0") == before + 1
    assert counted(service, "5000") >= 1
    text = service.metrics()
    for line in ("convbert_ready 1.0", "convbert_in_flight 0.0", "convbert_pipeline_restarts 0.0"):
        assert f"\n{line}\n" in text


def counted(service, err_no):
    """How many requests ended with this err_no."""
    text = service.metrics()
    found = re.search(rf'^convbert_requests_total{{err_no="{err_no}"}} (\S+)$', text, re.M)
    return float(found.group(1)) if found else 0.0


def test_nothing_is_written_outside_the_run_folder(service, files_before):
    kept = {"lock", "logs", "service.json", "serving-tmp", "ProcessInfo.json"}
    assert {path.name for path in service.run_dir.iterdir()} <= kept
    for folder, before in files_before.items():
        assert files_of(folder) == before


def files_of(folder):
    """The files below a folder and when they were written, without caches and run folders."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
        and not {"__pycache__", "run", ".git"} & set(path.relative_to(folder).parts)
    }


def test_the_clients_print_the_answer(service, call_script):
    expected = str(service.ask(DEFAULT_SENTENCE)[1])
    over_http = call_script(HTTP_CLIENT, "--url", service.url, env={"http_proxy": "http://[::1]:1"})
    over_rpc = call_script(RPC_CLIENT, "--address", service.address)
    for done in (over_http, over_rpc):
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected + "\n"


def test_the_client_sends_each_line_of_a_file(service, call_script, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    flags = ["--url", service.url, "--output_file", "out.jsonl"]
    done = call_script(HTTP_CLIENT, *flags, "--input_file", "in.txt")
    assert done.stdout.splitlines() == [str(service.ask(text)[1]) for text in TEXTS]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    piped = call_script(HTTP_CLIENT, *flags, "--input_file", "-", stdin="\n".join(TEXTS))
    assert piped.stdout == done.stdout


def test_a_client_without_a_label_exits_with_1(service, call_script, tmp_path):
    dead = f"127.0.0.1:{free_port()}"
    (tmp_path / "in.txt").write_text("fine\n\n")
    done = call_script(HTTP_CLIENT, "--url", service.url, "--input_file", "in.txt")
    assert done.returncode == 1
    assert "in.txt, line 2" in done.stderr
    for script, *flags in (
        (HTTP_CLIENT, "--url", service.url, "--text", " "),
        (HTTP_CLIENT, "--url", f"http://127.0.0.1:{service.port}/other"),
        (HTTP_CLIENT, "--url", f"http://127.0.0.1:{service.port}/metrics"),
        (HTTP_CLIENT, "--url", f"http://{dead}/convbert/prediction"),
        (RPC_CLIENT, "--address", dead, "--timeout", "5"),
        (RPC_CLIENT, "--address", service.address, "--text", ""),
    ):
        done = call_script(script, *flags, "--output_file", "out.jsonl")
        assert done.returncode == 1, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
    assert not (tmp_path / "out.jsonl").exists()
