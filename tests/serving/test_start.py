"""Starting in unusual ways: other addresses, other folders, output that nobody reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

from convbert.serving.run_dir import RunDir, Running
from convbert.serving.settings import load_settings
from tests.helpers.serving import SERVING, Served, free_port, wait_gone

CONTROL = "deploy/serving_python/control.py"
WEB_SERVICE = "deploy/serving_python/web_service.py"
RPC_CLIENT = "deploy/serving_python/pipeline_rpc_client.py"


def test_a_service_goes_on_when_nobody_reads_its_output(model_dir, tmp_path):
    """As in `web_service.py 2>&1 | head -1`."""
    service = Served(model_dir, tmp_path / "run")
    process = subprocess.Popen(service.command(), stderr=subprocess.PIPE)
    try:
        process.stderr.readline()
        process.stderr.close()
        service.wait_for("ready")
        os.kill(service.health()["pipeline_pid"], signal.SIGKILL)
        service.wait_for("restarting")
        service.wait_for("ready")
        assert service.ask("fine")[0] == 200
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert "restarting: the prediction process ended (signal 9)" in service.log()


def test_a_folder_of_ones_own_loses_nothing(tmp_path):
    (tmp_path / "tmp").mkdir()
    kept = {tmp_path / "tmp" / "thesis": "years", tmp_path / "lock": "mine", tmp_path / "x": "y"}
    for path, text in kept.items():
        path.write_text(text)
    with RunDir(str(tmp_path)):
        pass
    assert {path: path.read_text() for path in kept} == kept


def test_ipv6_addresses_are_written_with_brackets(model_dir, tmp_path, run_script):
    flags = ("--rpc_host", "::1", "--host", "::1")
    with Served(model_dir, tmp_path / "run", flags=flags) as service:
        status = run_script(CONTROL, "status", "--run_dir", service.run_dir)
        assert f"http://[::1]:{service.port}, " in status.stdout
        done = run_script(RPC_CLIENT, "--address", f"[::1]:{service.rpc_port}")
        assert done.returncode == 0, done.stderr
        assert "reachable from other machines" not in service.log()


@pytest.mark.parametrize(
    ("host", "url", "own"),
    [
        ("127.0.0.1", "http://127.0.0.1:5", True),
        ("localhost", "http://localhost:5", True),
        ("0.0.0.0", "http://127.0.0.1:5", False),
        ("::", "http://127.0.0.1:5", False),
        ("192.0.2.1", "http://192.0.2.1:5", False),
    ],
)
def test_addresses(host, url, own):
    assert Running(1, "", host, 5, 6).url == url
    settings = load_settings(str(SERVING / "config.yml"), host=host)
    assert settings.loopback_only is own


def test_settings_may_be_given_in_several_flags(model_dir, tmp_path, run_script):
    opts = ["--opt", "worker_num=many", "--opt", "dag.use_profile=true"]
    flags = ["--model_dir", model_dir, "--run_dir", tmp_path / "run", *opts]
    done = run_script(WEB_SERVICE, *flags)
    assert done.returncode == 2
    assert "'worker_num' is 'many'" in done.stderr


def test_the_pipeline_alone_writes_to_the_run_folder_only(model_dir, tmp_path, run_script):
    (tmp_path / "elsewhere").mkdir()
    service = Served(model_dir, tmp_path / "run", flags=("--pipeline_only",))
    process = subprocess.Popen(service.command(), cwd=str(tmp_path / "elsewhere"))
    try:
        address = f"127.0.0.1:{service.rpc_port}"
        while run_script(RPC_CLIENT, "--address", address, "--timeout", "5").returncode:
            assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "run" / "ProcessInfo.json").is_file()
    assert wait_gone([process.pid], 1) == []


def test_a_port_that_was_taken_before_the_pipeline_came_ends_it_in_one_line(
    model_dir, tmp_path, run_script
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--model_dir", model_dir, "--run_dir", tmp_path / "run", "--pipeline_only"]
        done = run_script(WEB_SERVICE, *flags, f"--rpc_port={port}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"{port} is already used; choose a --rpc_port\n")
    assert "Traceback" not in done.stderr


def test_a_start_that_is_stopped_says_so(model_dir, tmp_path, run_script):
    service = Served(model_dir, tmp_path / "run")
    command = service.command()
    command[1:2] = [str(SERVING / "control.py"), "start"]
    starting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    service.wait_for("starting")
    assert run_script(CONTROL, "stop", "--run_dir", service.run_dir).returncode == 0
    assert starting.communicate(timeout=30)[1] == "stopped before it was ready\n"
    assert starting.returncode == 1


def test_the_pipeline_alone_is_no_background_service(tmp_path, run_script):
    flags = ["--run_dir", tmp_path / "run", f"--port={free_port()}", "--pipeline_only"]
    done = run_script(CONTROL, "start", *flags, timeout=30)
    assert done.returncode == 2
    assert "give it to web_service.py" in done.stderr
