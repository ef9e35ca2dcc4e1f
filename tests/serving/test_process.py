"""Running the service: start, status, stop, death of a worker, overload, time-outs, logs."""

import contextlib
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import grpc

from convbert.serving.config import load_settings
from convbert.serving.process.service import LogFile
from convbert.serving.process.service_dir import Running, locked
from convbert.serving.protocol import Request, text_message, unary_call
from tests.conftest import start_script, without_manifest
from tests.helpers.errors import assert_refused
from tests.helpers.serving import (
    CONTROL,
    RPC_CLIENT,
    SERVING,
    WEB_SERVICE,
    Served,
    alive,
    listening,
    wait_gone,
)
from tests.helpers.waiting import wait_until

# One text a run makes a request of many texts slow: about a millisecond each, in one Op call.
SLOW = ("service.run_texts=1", "service.max_texts=100000", "op.convbert.batch_size=1")


def slow_texts(service, seconds):
    """Texts that keep the service busy for about that long."""
    began = time.monotonic()
    assert service.ask(*["fine"] * 200)[0] == 200
    return ["fine"] * int(200 * seconds / (time.monotonic() - began))


class Asking(threading.Thread):
    """A request in flight."""

    def __init__(self, service, *texts):
        super().__init__(daemon=True)
        self._service, self._texts = service, texts
        self.start()

    def run(self):
        try:
            status, answer = self._service.ask(*self._texts)
            self._result = status, answer["err_no"]
        except OSError as error:
            self._result = error

    def result(self):
        """HTTP status and err_no of the answer, or an exception."""
        self.join(60)
        assert not self.is_alive(), "the request hangs"
        return self._result


def in_flight(service, count):
    """Wait until the service says that it answers so many requests."""
    wait_until(lambda: service.health()["in_flight"] == count)


def test_start_status_stop(model_dir, tmp_path, repo_root):
    service = Served(model_dir, tmp_path / "run")

    def serving(command):
        words = [repo_root / "shell" / "serving.sh", command, f"--run_dir={service.run_dir}"]
        env = {**os.environ, "PYTHON": os.environ.get("PYTHON", "")}
        options = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
        return subprocess.run(["bash", *words], **options)

    assert serving("status").returncode == 3
    with service:
        family = service.family()
        status = serving("status")
        assert status.returncode == 0
        for fact in ("ready", service.process.pid, service.port, service.rpc_port):
            assert str(fact) in status.stdout
        assert_refused(serving("start"), "busy", service.process.pid)
        stopped = serving("stop")
        assert stopped.returncode == 0
        assert str(family[0].pid) in stopped.stdout
        assert "signal" not in service.log()  # Paddle's own handler reports it and dies on the spot
        assert alive(family) == []
        assert serving("status").returncode == 3
        assert serving("stop").returncode == 0
    assert listening(service.port) == listening(service.rpc_port) == set()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--rpc_port=PORT"], "port"),
        (["--host=203.0.113.1"], "port"),
        (["--model_dir=missing"], "served-model"),
        (["--config=missing.yml"], "file-missing"),
        (["--opt", "worker_num=many", "--opt", "dag.use_profile=true"], "settings"),
    ],
)
def test_a_wrong_start_is_one_line(model_dir, tmp_path, run_script, flags, code):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [flag.replace("PORT", port) for flag in flags]
        done = run_script(WEB_SERVICE, *Served(model_dir, tmp_path / "run").flags, *given)
    assert_refused(done, code, *(given[0].strip("-").split("=") if port in given[0] else ()))
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def slow_pipeline(tmp_path, monkeypatch):
    """Let a pipeline start so late that something else happens first."""
    module = tmp_path / "late" / "sitecustomize.py"
    module.parent.mkdir()
    module.write_text("import sys, time\nif '--parent' in sys.orig_argv:\n    time.sleep(30)\n")
    monkeypatch.setenv("PYTHONPATH", str(module.parent))


@pytest.mark.parametrize(
    ("opt", "status", "code"),
    [
        ("op.convbert.local_service_conf.devices=0", 2, "device"),
        ("service.max_seq_len=65", 2, "sequence-length"),
        ("dag.is_thread_op=false service.max_seq_len=65", 2, "sequence-length"),
        ("vocabulary", 2, "vocabulary"),
        ("damaged", 2, "file-damaged"),
        ("service.start_timeout_s=1", 1, "service"),
    ],
)
def test_what_only_the_pipeline_finds_ends_the_start_in_one_line(
    model_dir, tmp_path, call_script, request, opt, status, code
):
    if "start_timeout" in opt:
        request.getfixturevalue("slow_pipeline")
    if opt in ("vocabulary", "damaged"):
        model_dir = Path(shutil.copytree(model_dir, tmp_path / "server"))
        with open(model_dir / "vocab.txt", "a") as file:
            file.write("oneword\n")
        if opt == "vocabulary":
            without_manifest(model_dir)
        opt = "worker_num=32"
    service = Served(model_dir, tmp_path / "run", *opt.split())
    done = call_script(CONTROL, "start", *service.flags)
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"[{code}]")
    assert service.health() is None


def test_a_start_that_is_stopped_fails(model_dir, tmp_path, call_script, slow_pipeline):
    service = Served(model_dir, tmp_path / "run")
    starting = start_script(CONTROL, "start", *service.flags, stderr=subprocess.PIPE)
    service.wait_for("starting")
    assert call_script(CONTROL, "stop", "--run_dir", service.run_dir).returncode == 0
    assert len(starting.communicate(timeout=30)[1].splitlines()) == 1
    assert starting.returncode == 1


def test_a_service_in_the_foreground_writes_to_the_run_folder_only(
    model_dir, tmp_path, call_script
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    service = Served(model_dir, tmp_path / "run")
    with service.foreground(cwd=str(elsewhere)) as process:
        service.wait_for("ready")
        assert call_script(RPC_CLIENT, "--address", service.address).returncode == 0
        assert (tmp_path / "run" / "ProcessInfo.json").is_file()  # of Paddle Serving
    assert process.returncode == 0
    assert list(elsewhere.iterdir()) == []


def test_a_run_folder_holds_one_service_and_loses_no_other_file(model_dir, tmp_path, call_script):
    (tmp_path / "tmp").mkdir()
    kept = {tmp_path / "tmp" / "thesis": "years", tmp_path / "lock": "mine", tmp_path / "x": "y"}
    for path, text in kept.items():
        path.write_text(text)
    with locked(str(tmp_path)):
        done = call_script(WEB_SERVICE, *Served(model_dir, tmp_path).flags)
    assert_refused(done, "busy", tmp_path)
    assert {path: path.read_text() for path in kept} == kept


def test_another_process_with_the_id_of_a_service_is_not_it():
    own = psutil.Process()
    assert Running(own.pid, own.create_time(), "x:5", 6).process() == own
    assert Running(own.pid, own.create_time() - 10, "x:5", 6).process() is None


def test_ipv6_addresses(model_dir, tmp_path, call_script):
    with Served(model_dir, tmp_path / "run", flags=("--rpc_host=::1", "--host=::1")) as service:
        status = call_script(CONTROL, "status", "--run_dir", service.run_dir)
        assert f"http://[::1]:{service.port}, " in status.stdout
        done = call_script(RPC_CLIENT, "--address", f"[::1]:{service.rpc_port}")
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in service.log()  # of being reachable from other machines


def computing(processes):
    """Wait until one of the processes computes; return them, the busiest last."""

    def used():
        return {process: sum(process.cpu_times()[:2]) for process in processes}

    before = used()
    wait_until(lambda: any(now - before[process] > 0.1 for process, now in used().items()))
    now = used()
    return sorted(processes, key=lambda process: now[process] - before[process])


def test_a_killed_worker_process_is_noticed_and_replaced(model_dir, tmp_path):
    opts = ("dag.is_thread_op=false", "op.convbert.concurrency=2", *SLOW)
    with Served(model_dir, tmp_path / "run", *opts) as service:
        texts = slow_texts(service, 4)
        for restarts in (1, 2):
            asking = Asking(service, *texts)
            pipeline = service.pipeline
            workers = sorted(pipeline.children(), key=lambda child: child.memory_info().rss)[-2:]
            idle, busy = computing(workers)  # the third child, their manager, has no model
            (idle if restarts == 1 else busy).kill()
            assert asking.result() == (503, 3001)
            service.wait_for("restarting")
            status, answer = service.ask("fine")
            assert (status, answer["err_no"]) == (503, 3001)
            service.wait_for("ready")
            assert service.health()["restarts"] == restarts
            assert service.ask("fine")[0] == 200
            assert alive([pipeline, *workers]) == []


@pytest.fixture(scope="module")
def bounded(tmp_path_factory, model_dir):
    """A service of two requests at a time, three seconds each, and one worker process."""
    opts = ("service.max_in_flight=2", "service.request_timeout_s=3", "dag.is_thread_op=false")
    with Served(model_dir, tmp_path_factory.mktemp("run"), *opts) as served:
        yield served


@contextlib.contextmanager
def suspended(service):
    """Stop the pipeline's processes below its main one; yield a function that resumes them."""
    processes = service.pipeline.children()

    def resume():
        for process in alive(processes):
            process.resume()

    for process in processes:
        process.suspend()
    try:
        yield resume
    finally:
        resume()


def test_past_its_bound_the_service_is_busy(bounded):
    with suspended(bounded) as resume:
        inside = [Asking(bounded, "fine") for _ in range(2)]
        in_flight(bounded, 2)
        assert Asking(bounded, "fine").result() == (503, 3010)
        assert all(asking.is_alive() for asking in inside)
        resume()
        assert [asking.result() for asking in inside] == [(200, 0), (200, 0)]
    assert bounded.ask("fine")[0] == 200


def test_a_late_request_is_answered_and_not_computed(bounded):
    restarts = bounded.health()["restarts"]
    assert bounded.ask("fine")[0] == 200
    with suspended(bounded) as resume, grpc.insecure_channel(bounded.address) as channel:
        answering = unary_call(channel).future(text_message("fine"), timeout=60)
        time.sleep(4.2)  # its deadline is over; after 5.5 s a probe of the front end would restart
        resume()
        assert answering.result().err_no == 6000
    assert bounded.ask("fine")[0] == 200
    assert bounded.health()["restarts"] == restarts


def test_a_pipeline_that_answers_nothing_is_restarted(bounded):
    before = bounded.health()
    with suspended(bounded):
        assert Asking(bounded, "fine").result() == (504, 6000)
    bounded.wait_for("ready")
    after = bounded.health()
    assert after["restarts"] == before["restarts"] + 1
    assert after["pipeline_pid"] != before["pipeline_pid"]
    assert bounded.ask("fine")[0] == 200


def test_sigterm_finishes_what_is_in_flight(bounded):
    family = bounded.family()
    with suspended(bounded) as resume:
        asking = Asking(bounded, "fine")
        in_flight(bounded, 1)
        bounded.process.terminate()
        wait_until(lambda: not listening(bounded.port))
        resume()
        assert asking.result() == (200, 0)
    wait_gone(family)


def test_after_sigterm_open_connections_get_one_more_answer(model_dir, tmp_path):
    with Served(model_dir, tmp_path / "run") as service:
        address = "127.0.0.1", service.port
        connections = [http.client.HTTPConnection(*address, timeout=30) for _ in range(4)]
        body = json.dumps({"key": ["text"], "value": ["fine"]})
        for connection in connections[:3]:  # used and kept open
            connection.request("POST", "/convbert/prediction", body)
            assert connection.getresponse().read()
        connections[3].connect()  # never used
        idle = socket.create_connection(address, timeout=30)
        supervisor = service.process
        supervisor.terminate()
        wait_until(lambda: not listening(service.port))
        requests = [("POST", "/convbert/prediction")] * 2 + [("GET", "/health")] * 2
        for connection, request in zip(connections, requests):
            connection.request(*request, body)
            response = connection.getresponse()
            answer = json.load(response)
            assert (response.status, response.headers["Connection"]) == (503, "close")
            assert answer.get("err_no", 3001) == 3001
            assert answer.get("status", "stopping") == "stopping"
        with idle:
            assert idle.recv(1) == b""
        wait_gone([supervisor])


def test_sigterm_finishes_calls_that_came_over_grpc(model_dir, tmp_path):
    with Served(model_dir, tmp_path / "run", *SLOW) as service:
        texts = slow_texts(service, 0.7)
        with grpc.insecure_channel(service.address) as channel:
            request = Request(name="convbert", key=["text"] * len(texts), value=texts)
            answering = unary_call(channel).future(request, timeout=60)
            computing([service.pipeline])
            service.process.terminate()
            assert answering.result().err_no == 0


def test_ctrl_c_ends_everything_even_what_cannot_finish(model_dir, tmp_path):
    service = Served(model_dir, tmp_path / "run", "dag.is_thread_op=false")
    with service.foreground(stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        service.wait_for("ready")
        family = service.family()
        with suspended(service):
            asking = Asking(service, "fine")
            in_flight(service, 1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            assert alive(family) == []
    assert asking.result() == (503, 3001)
    assert process.returncode == 130
    assert "Traceback" not in output


def test_a_service_goes_on_when_nobody_reads_its_output(model_dir, tmp_path):
    """As in `web_service.py 2>&1 | head -1`."""
    service = Served(model_dir, tmp_path / "run")
    with service.foreground(stderr=subprocess.PIPE) as process:
        process.stderr.readline()
        process.stderr.close()
        service.wait_for("ready")
        service.kill_pipeline()
        assert service.ask("fine")[0] == 200
        process.terminate()
        assert process.wait(30) == 0
        process.stderr = None
    assert "signal 9" in service.log()


def test_a_restarted_pipeline_keeps_engine_and_precision(model_dir, tmp_path):
    """They are chosen when the service starts, also if files of the model change later."""
    served = without_manifest(Path(shutil.copytree(model_dir, tmp_path / "server")))
    opt = "op.convbert.local_service_conf.use_mkldnn=false"  # "auto" is Paddle, in fp32
    with Served(served, tmp_path / "run", opt) as service:
        (served / "inference.xml").write_text("of a quantized model")
        again = load_settings(str(SERVING / "config.yml"), [opt], str(served)).engine_options()
        assert (again.engine, again.precision) == ("openvino", "int8")
        service.kill_pipeline()
        health = service.health()
        assert (health["engine"], health["precision"]) == ("paddle", "fp32")
        assert service.ask("fine")[0] == 200


def test_no_process_outlives_a_killed_supervisor(model_dir, tmp_path):
    with Served(model_dir, tmp_path / "run", "dag.is_thread_op=false") as service:
        family = service.family()
        assert len(family) >= 4  # supervisor, pipeline, its manager, a worker
        service.process.kill()
        wait_gone(family)
        assert service.health() is None
        service.start()  # what a killed service left behind does not hinder the next
        assert service.ask("fine")[0] == 200


@pytest.mark.parametrize("change", ["rename", "remove", "truncate", "remove the folder"])
def test_the_log_goes_on_after_another_program_rotated_it(tmp_path, change):
    path = tmp_path / "logs" / "serving.log"
    path.parent.mkdir()
    file = LogFile(str(path), maxBytes=100, backupCount=1, encoding="utf-8")

    def write(text):
        file.emit(logging.makeLogRecord({"msg": text}))

    write("before")
    if change == "rename":
        path.rename(tmp_path / "moved")
    elif change == "truncate":
        os.truncate(path, 0)
    else:
        shutil.rmtree(path.parent) if "folder" in change else path.unlink()
    write("after")
    assert path.read_text() == "after\n"
    write("x" * 99)
    assert (path.parent / "serving.log.1").read_text() == "after\n"  # and is still rotated
    file.close()


def test_a_pipeline_that_keeps_ending_ends_the_service_and_logs_rotate(model_dir, tmp_path):
    opts = ("service.log_file_bytes=10000", "service.log_files=2", "dag.use_profile=true")
    with Served(model_dir, tmp_path / "run", *opts) as service:
        supervisor, logs = service.process, service.run_dir / "logs"
        while not (logs / "serving.log.1").exists():
            assert service.ask("fine")[0] == 200
        names = {path.name for path in logs.iterdir()}
        assert names == {"console.log", "serving.log", "serving.log.1"}
        assert 9_000 < (logs / "serving.log.1").stat().st_size <= 10_000
        for restarts in range(4):
            wait_until(lambda: service.health()["restarts"] == restarts)  # noqa: B023
            service.wait_for("ready")
            service.pipeline.kill()
        wait_gone([supervisor])
        console = (logs / "console.log").read_text()
        assert console.startswith("error: ")
        assert console.endswith("[service]\n")
