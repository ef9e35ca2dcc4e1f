"""Running the service: start, status, stop, death of a worker, overload, time-outs, logs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import grpc

from convbert.serving.messages import INFERENCE_METHOD, Request, Response
from convbert.serving.run_dir import RunDir
from tests.helpers.serving import (
    Served,
    children,
    free_port,
    listening,
    wait_gone,
)

CONTROL = "deploy/serving_python/control.py"
WEB_SERVICE = "deploy/serving_python/web_service.py"
# One text a run makes a request of many texts slow: about a millisecond each, in one Op call.
SLOW = ("service.run_texts=1", "service.max_texts=100000", "op.convbert.batch_size=1")


def slow_texts(service, seconds):
    """Texts that keep the service busy for about that long."""
    began = time.monotonic()
    assert service.ask(*["fine"] * 200)[0] == 200
    return ["fine"] * int(200 * seconds / (time.monotonic() - began))


class Asking(threading.Thread):
    """A request in flight: ``answer`` is (HTTP status, JSON) or an exception."""

    def __init__(self, service, *texts):
        super().__init__(daemon=True)
        self._service, self._texts = service, texts
        self.start()

    def run(self):
        began = time.monotonic()
        try:
            self.answer = self._service.ask(*self._texts)
        except OSError as error:
            self.answer = error
        self.seconds = time.monotonic() - began

    def result(self, timeout=60):
        self.join(timeout)
        assert not self.is_alive(), "the request hangs"
        return self.answer


def test_start_status_stop(model_dir, tmp_path, repo_root):
    service = Served(model_dir, tmp_path / "run")
    command = ["bash", str(repo_root / "shell" / "serving.sh")]
    run = {
        "cwd": str(tmp_path),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    run["env"] = {**os.environ, "PYTHON": os.environ.get("PYTHON", "")}
    flags = [f"--run_dir={service.run_dir}"]
    assert subprocess.run([*command, "status", *flags], **run).returncode == 3
    with service:
        family = service.family()
        status = subprocess.run([*command, "status", *flags], **run)
        assert status.returncode == 0
        assert status.stdout.startswith(
            f"ready: pid {service.pid}, http://127.0.0.1:{service.port}"
        )
        again = subprocess.run([*command, "start", *flags], **run)
        assert again.returncode == 2
        assert "already running" in again.stdout
        stopped = subprocess.run([*command, "stop", *flags], **run)
        assert stopped.returncode == 0
        assert stopped.stdout.startswith("stopped pid")
        assert "signal" not in service.log()  # Paddle's own handler reports it and dies on the spot
        assert wait_gone(family, 0) == []
        assert subprocess.run([*command, "status", *flags], **run).returncode == 3
        assert subprocess.run([*command, "stop", *flags], **run).stdout == "not running\n"
    assert listening(service.port) == listening(service.rpc_port) == []


def test_a_port_in_use_is_one_line(model_dir, tmp_path, run_script):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name in ("port", "rpc_port"):
            ports = {"port": free_port(), "rpc_port": free_port(), name: taken.getsockname()[1]}
            flags = [f"--{key}={value}" for key, value in ports.items()]
            done = run_script(
                WEB_SERVICE, "--model_dir", model_dir, "--run_dir", tmp_path / "run", *flags
            )
            assert done.returncode == 2
            error = f"web_service.py: error: cannot listen on 127.0.0.1:{ports[name]}: "
            mend = f"Address already in use; stop who holds it, or choose another with --{name}\n"
            assert done.stderr == error + mend


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model_dir", "missing"], "is no served model"),
        (["--config", "missing.yml"], "cannot read --config missing.yml"),
        (["--opt", "worker_num=many"], "'worker_num' is 'many', expected an integer"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
    ],
)
def test_a_wrong_start_is_one_line(model_dir, tmp_path, run_script, flags, says):
    flags = ["--model_dir", model_dir, "--run_dir", tmp_path / "run", *flags]
    done = run_script(WEB_SERVICE, *flags, f"--port={free_port()}", f"--rpc_port={free_port()}")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_only_the_pipeline_finds_ends_the_start_too(model_dir, tmp_path, run_script):
    for opt, says in (
        ("op.convbert.local_service_conf.devices=0", "a GPU is asked for"),
        ("op.convbert.local_service_conf.device_type=1", "a GPU is asked for"),
        ("service.max_seq_len=65", "cannot run max_seq_len 65"),
    ):
        ports = [f"--port={free_port()}", f"--rpc_port={free_port()}"]
        done = run_script(
            CONTROL, "start", "--run_dir", tmp_path, "--model_dir", model_dir, *ports, "--opt", opt
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_start_that_takes_too_long_ends_and_says_where_to_look(model_dir, tmp_path, run_script):
    ports = [f"--port={free_port()}", f"--rpc_port={free_port()}"]
    flags = ["--run_dir", tmp_path, "--model_dir", model_dir, *ports]
    done = run_script(CONTROL, "start", *flags, "--opt", "service.start_timeout_s=1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no answer within 1 s of the start: raise start_timeout_s")
    assert "logs/serving.log in --run_dir" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_vocabulary_of_another_model_ends_the_start(model_dir, tmp_path, run_script):
    other = tmp_path / "server"
    shutil.copytree(str(model_dir), str(other))
    with open(other / "vocab.txt", "a") as file:
        file.write("oneword\n")
    ports = [f"--port={free_port()}", f"--rpc_port={free_port()}"]
    done = run_script(CONTROL, "start", "--run_dir", tmp_path / "run", "--model_dir", other, *ports)
    assert done.returncode == 2
    assert "words but the program was exported for" in done.stderr


def test_a_killed_worker_process_is_noticed_and_replaced(model_dir, tmp_path):
    opts = ("dag.is_thread_op=false", "op.convbert.concurrency=2", *SLOW)
    with Served(model_dir, tmp_path / "run", *opts) as service:
        texts = slow_texts(service, 4)
        for round_number, victim in enumerate(("idle", "busy"), start=1):
            asking = Asking(service, *texts)
            time.sleep(0.5)
            pipeline = service.health()["pipeline_pid"]
            workers = by_cpu(children(pipeline))
            began = time.monotonic()
            os.kill(workers[-1] if victim == "busy" else workers[-2], signal.SIGKILL)
            status, answer = asking.result()
            assert (status, answer["err_no"]) == (503, 3001)
            service.wait_for("restarting", 2 - (time.monotonic() - began))
            status, answer = service.ask("fine")
            assert (status, answer["err_no"]) == (503, 3001)
            assert "restarting" in answer["err_msg"]
            service.wait_for("ready")
            assert service.health()["restarts"] == round_number
            assert service.ask("fine")[0] == 200
            assert wait_gone([pipeline, *workers], 1) == []


def by_cpu(pids):
    """The process ids, busiest last: two workers and the manager of the pipeline."""

    def ticks(pid):
        with open(f"/proc/{pid}/stat") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))

    before = {pid: ticks(pid) for pid in pids}
    time.sleep(0.5)
    return sorted(pids, key=lambda pid: ticks(pid) - before[pid])


@pytest.fixture(scope="module")
def bounded(tmp_path_factory, model_dir):
    """A service of two requests at a time, three seconds each, and one worker process."""
    opts = ("service.max_in_flight=2", "service.request_timeout_s=3", "dag.is_thread_op=false")
    with Served(model_dir, tmp_path_factory.mktemp("run"), *opts) as served:
        yield served


@contextlib.contextmanager
def standing_still(service):
    """Stop the pipeline's processes below its main one; yield a function that lets them go on."""
    pids = children(service.health()["pipeline_pid"])

    def send(number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    send(signal.SIGSTOP)
    try:
        yield lambda: send(signal.SIGCONT)
    finally:
        send(signal.SIGCONT)


def test_past_its_bound_the_service_says_busy_at_once(bounded):
    with standing_still(bounded) as go_on:
        inside = [Asking(bounded, "fine") for _ in range(2)]
        time.sleep(0.5)
        outside = Asking(bounded, "fine")
        status, answer = outside.result()
        assert (status, answer["err_no"]) == (503, 3010)
        assert outside.seconds < 1
        assert bounded.health()["in_flight"] == 2
        go_on()
        assert [asking.result()[0] for asking in inside] == [200, 200]
    assert bounded.ask("fine")[0] == 200


def test_a_late_request_is_answered_so_and_not_computed(bounded):
    restarts = bounded.health()["restarts"]
    with standing_still(bounded) as go_on:
        asking = Asking(bounded, "fine")
        time.sleep(3.2)
        go_on()
        status, answer = asking.result()
    assert (status, answer["err_no"]) == (504, 6000)
    assert 3 < asking.seconds < 3.5  # the worker refused it; the front waits longer
    assert bounded.ask("fine")[0] == 200
    assert bounded.health()["restarts"] == restarts


def test_a_pipeline_that_answers_nothing_is_restarted(bounded):
    before = bounded.health()
    with standing_still(bounded):
        asking = Asking(bounded, "fine")
        status, answer = asking.result()
        assert (status, answer["err_no"]) == (504, 6000)
        assert asking.seconds < 5
    bounded.wait_for("ready")
    after = bounded.health()
    assert after["restarts"] == before["restarts"] + 1
    assert after["pipeline_pid"] != before["pipeline_pid"]
    assert bounded.ask("fine")[0] == 200


def test_sigterm_finishes_what_is_in_flight(bounded):
    family = bounded.family()
    with standing_still(bounded) as go_on:
        asking = Asking(bounded, "fine")
        time.sleep(0.3)
        began = time.monotonic()
        os.kill(bounded.pid, signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError, match="refused"):
            bounded.ask("fine")
        go_on()
        status, answer = asking.result()
        assert status == 200, answer
    assert wait_gone(family, 5 - (time.monotonic() - began)) == []


def test_sigterm_finishes_calls_that_came_over_grpc(model_dir, tmp_path):
    with Served(model_dir, tmp_path / "run", *SLOW) as service:
        texts = slow_texts(service, 0.7)
        with grpc.insecure_channel(f"127.0.0.1:{service.rpc_port}") as channel:
            call = channel.unary_unary(
                INFERENCE_METHOD, Request.SerializeToString, Response.FromString
            )
            request = Request(name="convbert", key=["text"] * len(texts), value=texts)
            answering = call.future(request, timeout=60)
            time.sleep(0.2)
            os.kill(service.pid, signal.SIGTERM)
            assert answering.result().err_no == 0


def test_ctrl_c_ends_everything_in_time_even_what_cannot_finish(model_dir, tmp_path):
    service = Served(model_dir, tmp_path / "run", "dag.is_thread_op=false")
    process = subprocess.Popen(
        service.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        service.wait_for("ready")
        family = service.family()
        with standing_still(service):
            asking = Asking(service, "fine")
            time.sleep(0.3)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            assert time.monotonic() - began < 5
            assert wait_gone(family, 0) == []
    finally:
        process.kill()
    status, answer = asking.result()
    assert (status, answer["err_no"]) == (503, 3001)
    assert process.returncode == 130
    assert "Traceback" not in output


def test_a_run_folder_holds_one_service(model_dir, tmp_path, run_script):
    with RunDir(str(tmp_path / "run")):
        ports = [f"--port={free_port()}", f"--rpc_port={free_port()}"]
        flags = ["--run_dir", tmp_path / "run", "--model_dir", model_dir, *ports]
        done = run_script(WEB_SERVICE, *flags, timeout=60)
    assert done.returncode == 2
    assert "a service runs in" in done.stderr


def test_no_process_outlives_a_killed_supervisor(model_dir, tmp_path):
    with Served(model_dir, tmp_path / "run", "dag.is_thread_op=false") as service:
        family = service.family()
        assert len(family) >= 4  # supervisor, pipeline, its manager, a worker
        os.kill(service.pid, signal.SIGKILL)
        assert wait_gone(family, 2) == []
        assert service.health() is None
        service.start()  # what a killed service left behind is no hindrance
        assert service.ask("fine")[0] == 200


def test_a_pipeline_that_keeps_ending_ends_the_service_and_logs_rotate(model_dir, tmp_path):
    opts = ("service.log_file_bytes=10000", "service.log_files=2")
    with Served(model_dir, tmp_path / "run", *opts) as service:
        supervisor = service.pid
        fill_the_log(service, lines=130)
        logs = {path.name: path.stat().st_size for path in (service.run_dir / "logs").iterdir()}
        assert set(logs) == {"console.log", "serving.log", "serving.log.1"}
        assert max(logs.values()) <= 10_000
        assert logs["serving.log.1"] > 9_000
        for _ in range(4):
            service.wait_for("ready")
            os.kill(service.health()["pipeline_pid"], signal.SIGKILL)
            time.sleep(0.2)
        assert wait_gone([supervisor], 10) == []
        console = (service.run_dir / "logs" / "console.log").read_text()
        assert "the pipeline ended 4 times in 60 s: logs/serving.log in --run_dir" in console


def fill_the_log(service, lines):
    """Send requests that the pipeline logs, some 110 bytes each, and wait for the last line."""
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc_port}") as channel:
        call = channel.unary_unary(INFERENCE_METHOD, Request.SerializeToString, Response.FromString)
        for number in range(1, lines + 1):
            call(Request(name="of another service", logid=number), timeout=60)
    began = time.monotonic()
    while f"log_id={lines}" not in service.log() and time.monotonic() - began < 10:
        time.sleep(0.05)
    assert f"log_id={lines}" in service.log()
