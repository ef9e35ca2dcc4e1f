"""The real service over real HTTP and gRPC: answers, wrong requests, security, limits."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import socket
import threading

import numpy as np
import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import grpc

from convbert.command.flags import DEFAULT_SENTENCE
from convbert.serving.backend import request_message
from convbert.serving.engine import Engine
from convbert.serving.messages import INFERENCE_METHOD, Request, Response, Tensor
from convbert.serving.requests import Fields
from convbert.serving.settings import load_settings
from paddlenlp.utils.errors import UserError
from tests.conftest import TINY_WORDS
from tests.helpers.serving import SERVING, Served, listening

HTTP_CLIENT = "deploy/serving_python/pipeline_http_client.py"
RPC_CLIENT = "deploy/serving_python/pipeline_rpc_client.py"
INFER = "deploy/inference_python/infer.py"
TEXTS = ["a good film .", "the script is bad", "it was a very dull story , not good !", "fine"]


@pytest.fixture(scope="module")
def files_before(model_dir):
    """What lies beside the scripts and in the served model before the service is started."""
    return {
        folder: files_of(folder) for folder in (SERVING, SERVING.parents[1] / "convbert", model_dir)
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory, model_dir, files_before):
    """A running service with the shipped settings."""
    with Served(model_dir, tmp_path_factory.mktemp("run")) as served:
        yield served


@pytest.fixture(scope="module")
def rpc(service):
    """Return ``call(message)``: send a Request over gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc_port}") as channel:
        call = channel.unary_unary(INFERENCE_METHOD, Request.SerializeToString, Response.FromString)
        yield lambda message: call(message, timeout=60)


def values(answer):
    """The label ids and probabilities of an answer."""
    assert answer["err_no"] == 0, answer
    assert answer["key"] == ["label_id", "prob"]
    return [json.loads(value) for value in answer["value"]]


def test_the_answer_has_the_form_of_the_first_release(service):
    status, answer = service.ask(DEFAULT_SENTENCE)
    assert status == 200
    assert list(answer) == ["err_no", "err_msg", "key", "value", "tensors"]
    assert re.fullmatch(r"\[\d\]", answer["value"][0])
    assert re.fullmatch(r"\[[01]\.\d+\]", answer["value"][1])
    assert (answer["err_msg"], answer["tensors"]) == ("", [])


def test_probabilities_are_those_of_infer(service, run_script, tiny_export, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    flags = ["--input_file", "in.txt", "--output_file", "out.jsonl", "--max_seq_len", "64"]
    inferred = run_script(INFER, "--model_dir", tiny_export, *flags)
    assert inferred.returncode == 0, inferred.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for text, row in zip(TEXTS, rows):
        labels, probs = values(service.ask(text)[1])
        assert labels == [row["label_id"]]
        assert probs == pytest.approx([row["prob"]], abs=1e-5)


def test_company_in_a_request_or_in_a_batch_changes_no_answer(service):
    texts = [TEXTS[index % 4] + " the" * (index % 31) for index in range(60)]
    alone = [values(service.ask(text)[1]) for text in texts]
    labels, probs = values(service.ask(*texts)[1])
    assert labels == [label for (label,), _ in alone]
    np.testing.assert_allclose(probs, [prob for _, (prob,) in alone], atol=1e-5)
    together = in_parallel(lambda text: values(service.ask(text)[1]), texts, 16)
    assert [label for label, _ in together] == [label for label, _ in alone]
    np.testing.assert_allclose(
        [prob for _, (prob,) in together], [prob for _, (prob,) in alone], atol=1e-5
    )


def in_parallel(function, items, threads):
    """Apply a function to items from several threads; results in order."""
    results, places = [None] * len(items), iter(range(len(items)))

    def work():
        for place in places:
            results[place] = function(items[place])

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def test_grpc_gives_the_answer_of_http(service, rpc):
    response = rpc(request_message(Fields(["text"], [TEXTS[0]])))
    assert list(response.value) == service.ask(TEXTS[0])[1]["value"]


def test_pairs_differ_from_their_first_sentence(service):
    pair = {"key": ["text", "text_pair"], "value": TEXTS[:2]}
    assert values(service.http(pair)[1]) != values(service.ask(TEXTS[0])[1])


ONE = {"key": ["text"], "value": ["fine"]}
HUGE = "word " * 1_000_000
WRONG_REQUESTS = {
    "empty body": (b"", 400, "not JSON"),
    "not JSON": (b"key=text&value=fine", 400, "not JSON"),
    "binary": (bytes(range(256)) * 20, 400, "not UTF-8"),
    "array": (b"[1, 2]", 400, "no JSON object"),
    "no text": ({"key": [], "value": []}, 400, "no text"),
    "no key": ({"value": ["fine"]}, 400, "'key' must be"),
    "wrong key": ({"key": ["sentence"], "value": ["fine"]}, 400, "unknown key"),
    "profile key": ({"key": ["text", "pipeline.profile"], "value": ["fine", "1"]}, 400, "unknown"),
    "empty text": ({"key": ["text"], "value": [""]}, 400, "text 1 is empty"),
    "blank text": ({"key": ["text"], "value": [" \t"]}, 400, "text 1 is empty"),
    "number": ({"key": ["text"], "value": [5]}, 400, "'value' must be a list of strings"),
    "no list": ({"key": "text", "value": "fine"}, 400, "'key' must be a list of strings"),
    "fewer values": ({"key": ["text", "text"], "value": ["fine"]}, 400, "2 entries"),
    "more values": ({"key": ["text"], "value": ["fine", "bad"]}, 400, "2"),
    "unknown field": ({**ONE, "sentence": "fine"}, 400, "unknown field"),
    "log id": ({**ONE, "logid": "x"}, 400, "'logid' must be"),
    "5 MB text": ({"key": ["text"], "value": [HUGE]}, 413, "more than 4194304 bytes"),
    "long text": ({"key": ["text"], "value": [HUGE[:20_000]]}, 400, "20000 characters"),
    "10,000 texts": ({"key": ["text"] * 10_000, "value": ["fine"] * 10_000}, 400, "10000 texts"),
}


@pytest.mark.parametrize("case", WRONG_REQUESTS)
def test_a_wrong_request_gets_a_clear_error_and_the_service_goes_on(service, case):
    body, expected, says = WRONG_REQUESTS[case]
    status, answer = service.http(body)
    assert status == expected
    assert answer["err_no"] == 5000
    assert says in answer["err_msg"]
    assert answer["value"] == []
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
    announced = (
        b"POST /convbert/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(announced)
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(
            announced.replace(b"Content-Length: 99999999999", b"Transfer-Encoding: chunked")
        )
        chunk = b"%x\r\n%b\r\n" % (2**20, b"x" * 2**20)
        with pytest.raises(OSError, match="reset|pipe|aborted"):
            connection.sendall(chunk * 64)
    assert service.http(ONE)[0] == 200


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Request(name="convbert"), "no text"),
        (Request(name="convbert", key=["text"]), "1 entries"),
        (Request(name="convbert", key=["text"], value=[""]), "empty"),
        (Request(name="convbert", key=["a/b"], value=["fine"]), "unknown key"),
        (Request(name="convbert", key=["text"], value=["x" * 20_000]), "20000 characters"),
    ],
)
def test_a_wrong_rpc_request_gets_a_clear_error(rpc, message, says):
    response = rpc(message)
    assert response.err_no == 5000
    assert says in response.err_msg
    assert rpc(request_message(Fields(["text"], ["fine"]))).err_no == 0


def test_a_foreign_service_name_and_a_huge_message_are_refused(service, rpc):
    assert rpc(Request(name="o\nFORGED", key=["text"], value=["fine"])).err_no == 3002
    assert "FORGED" not in (service.run_dir / "logs" / "serving.log").read_text()
    with pytest.raises(grpc.RpcError) as caught:
        rpc(Request(name="convbert", key=["text"], value=[HUGE]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc(request_message(Fields(["text"], ["fine"]))).err_no == 0


@pytest.mark.parametrize("row", [-1, len(TINY_WORDS)])
def test_a_token_id_outside_the_vocabulary_is_refused(model_dir, monkeypatch, row):
    """In the embedding table it would be another word's row, or a segmentation fault."""
    settings = load_settings(str(SERVING / "config.yml"), model_dir=str(model_dir))
    engine = Engine(settings)
    ids = np.array([[2, row, 3]])
    monkeypatch.setattr(engine.processor, "collate", lambda encoded: (ids, np.zeros_like(ids)))
    with pytest.raises(UserError, match="outside the vocabulary"):
        engine.encode(["fine"])


class Marker:
    """Unpickling it makes a folder: what an attacker would do, harmlessly."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_in_tensors_is_never_loaded(service, rpc, tmp_path):
    control = tmp_path / "control"
    pickle.loads(pickle.dumps(Marker(control)))
    assert control.is_dir()  # the marker works where it is loaded
    for name, send in (("http", service.http), ("rpc", rpc)):
        marker = tmp_path / name
        data = pickle.dumps(Marker(marker))
        for elem_type in (0, 12, 13):
            if name == "http":
                tensor = {"name": "x", "elem_type": elem_type}
                tensor["byte_data"] = base64.b64encode(data).decode()
                status, answer = send({**ONE, "tensors": [tensor]})
                assert (status, answer["err_no"]) == (400, 5000)
                assert "tensors are not accepted" in answer["err_msg"]
            else:
                tensor = Tensor(name="text", elem_type=elem_type, byte_data=data)
                response = send(
                    Request(name="convbert", key=["text"], value=["fine"], tensors=[tensor])
                )
                assert response.err_no == 5000
                assert "tensors are not accepted" in response.err_msg
        assert not marker.exists()


def test_errors_show_no_path_and_no_text(service, rpc):
    secret = "mysecretword"
    bodies = [{"key": [secret], "value": ["fine"]}, {"key": ["text"], "value": [secret * 5000]}]
    answers = [service.http(body)[1]["err_msg"] for body, _, _ in WRONG_REQUESTS.values()]
    answers += [service.http(body)[1]["err_msg"] for body in bodies[1:]]
    for shown in answers:
        assert "/" not in shown.replace("key/value", "")
        assert secret not in shown
    assert secret not in service.log()


def test_both_ports_listen_on_loopback_only(service):
    assert listening(service.port) == ["0100007F"]
    assert len(listening(service.rpc_port)) == 1
    assert listening(service.rpc_port)[0].endswith("0100007F")


def test_health_and_metrics(service):
    status, body = service.http(None, path="/health", method="GET")
    assert (status, body["status"], body["restarts"]) == (200, "ready", 0)
    before = counted(service, "0")
    service.ask("fine")
    service.ask("")
    assert counted(service, "0") == before + 1
    text = service.http(None, path="/metrics", method="GET")[1]
    for line in ("convbert_ready 1.0", "convbert_in_flight 0.0", "convbert_pipeline_restarts 0.0"):
        assert f"\n{line}\n" in text
    assert counted(service, "5000") >= 1


def counted(service, err_no):
    """How many requests ended with this err_no."""
    text = service.http(None, path="/metrics", method="GET")[1]
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


def test_the_clients_print_the_answer(service, run_script):
    expected = str(service.ask(DEFAULT_SENTENCE)[1])
    url = f"http://127.0.0.1:{service.port}/convbert/prediction"
    over_http = run_script(HTTP_CLIENT, "--url", url, env={"http_proxy": "http://127.0.0.1:1"})
    over_rpc = run_script(RPC_CLIENT, "--address", f"127.0.0.1:{service.rpc_port}")
    for done in (over_http, over_rpc):
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected + "\n"


def test_the_client_sends_each_line_of_a_file(service, run_script, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    url = f"http://127.0.0.1:{service.port}/convbert/prediction"
    done = run_script(HTTP_CLIENT, "--url", url, "--input_file", "in.txt")
    assert done.stdout.splitlines() == [str(service.ask(text)[1]) for text in TEXTS]
    piped = run_script(HTTP_CLIENT, "--url", url, "--input_file", "-", stdin="\n".join(TEXTS))
    assert piped.stdout == done.stdout


def test_the_client_fails_clearly(service, run_script, free_port):
    url = f"http://127.0.0.1:{service.port}"
    dead = free_port()
    for script, flags, code, says in (
        (HTTP_CLIENT, ["--url", f"{url}/convbert/prediction", "--text", " "], 1, "text 1 is empty"),
        (HTTP_CLIENT, ["--url", f"{url}/other"], 1, "no such service"),
        (HTTP_CLIENT, ["--url", f"{url}/metrics"], 1, "err_no 3002"),
        (HTTP_CLIENT, ["--url", f"http://127.0.0.1:{dead}/convbert/prediction"], 1, "refused"),
        (HTTP_CLIENT, ["--url", "127.0.0.1:18080"], 2, "give an address like"),
        (HTTP_CLIENT, ["--input_file", "missing.txt"], 2, "cannot read --input_file"),
        (HTTP_CLIENT, ["--text", "a", "--input_file", "b"], 2, "exclude each other"),
        (RPC_CLIENT, ["--address", f"127.0.0.1:{dead}", "--timeout", "5"], 1, "UNAVAILABLE"),
        (RPC_CLIENT, ["--address", f"127.0.0.1:{service.rpc_port}", "--text", ""], 1, "empty"),
    ):
        done = run_script(script, *flags)
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
