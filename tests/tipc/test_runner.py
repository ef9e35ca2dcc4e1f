"""The TIPC runner with a fake python: broken steps fail the run, and no process is left."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.helpers.tipc import SERVING_SCRIPT, TRAIN_SCRIPT, FakeRun, error_code, is_running
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="POSIX signals")
LITE = "lite_train_lite_infer"
STEPS = ["1 train", "2 eval", "3 export", "4 infer", "5 infer"]
SERVING_STEPS = ["1 infer", "2 convert", "3 serve", "4 client", "5 stop"]
# Steps that cannot be run once step k has failed.
SKIPPED_AFTER = {1: [2, 3, 4, 5], 2: [4, 5], 3: [4, 5], 4: [], 5: []}
NEVER = "100000"  # seconds: a test that waits for this limit fails by its own time limit


@pytest.fixture
def fake(tmp_path):
    return FakeRun(tmp_path)


@pytest.fixture
def trained(fake):
    """Return ``run(**plan)``: exit status, output and statuses of a run with that plan."""

    def run(mode=LITE, config=None, env=None, **plan):
        shutil.rmtree(fake.output, ignore_errors=True)
        config = config or fake.train_config()
        status, printed = fake.run(TRAIN_SCRIPT, config, mode, plan=plan, **(env or {}))
        return status, printed, fake.statuses()

    return run


@pytest.fixture
def served(fake):
    """Return ``run(lines, **plan)``, as `trained`, with a server that may do something wrong."""

    def run(lines=None, ready=NEVER, **plan):
        env = {"TIPC_READY_SECONDS": ready}
        config = fake.serving_config(lines or {})
        status, printed = fake.run(SERVING_SCRIPT, config, plan=plan, **env)
        return status, printed, fake.statuses()

    return run


def all_ok(names, **other):
    return {**dict.fromkeys(names, "OK"), **other}


def started_pids(fake) -> list[int]:
    """Numbers of the processes that the fake python left or hangs in; waits for them."""
    path = fake.folder / "state" / "pids"
    wait_until(path.exists, lambda: f"{path} did not appear")
    return [int(pid) for pid in path.read_text().split()]


def test_a_good_run(fake, trained):
    status, printed, statuses = trained()
    assert status == 0, printed
    assert statuses == all_ok(STEPS)
    (run_dir,) = fake.run_dirs()
    results = (fake.output / "results_python.log").read_text()
    assert results == (run_dir / "results_python.log").read_text()
    line = re.compile(r" Run successfully with command - .*\.log 2>&1 !  ")
    assert len(results.splitlines()) == 5
    assert all(map(line.fullmatch, results.splitlines()))
    assert set(results.splitlines()) <= set(printed.splitlines())
    assert (run_dir / "summary.txt").read_text() in printed
    assert (fake.output / "latest_python").resolve() == run_dir
    training = run_dir / "norm_train_gpus_-1_autocast_null"
    name = "python_infer_cpu_usemkldnn_False_threads_2_precision_fp32_batchsize_8.log"
    assert "fake infer.py, call 5" in (training / name).read_text()


@pytest.mark.parametrize("k", range(1, 6))
def test_a_failing_step_fails_the_run(fake, trained, k):
    status, printed, statuses = trained(fail=k)
    assert status == 1
    skipped = [STEPS[number - 1] for number in SKIPPED_AFTER[k]]
    wanted = all_ok(STEPS, **{STEPS[k - 1]: "FAILED"}, **dict.fromkeys(skipped, "SKIPPED"))
    assert statuses == wanted
    assert f", call {k}\n" in printed.partition("FAILED with status 3")[2]  # the end of its log
    results = (fake.output / "results_python.log").read_text()
    assert results.count(" Run failed with command - ") == 1
    assert results.count(" Run skipped with command - ") == len(skipped)
    assert len(fake.calls()) == 5 - len(skipped)


def test_every_combination_is_run(fake, trained):
    lines = {4: "gpu_list:-1|-1,-1", 43: "--cpu_threads:1|2", 44: "--batch_size:1|8"}
    status, printed, _ = trained(config=fake.train_config(lines))
    assert status == 0, printed
    calls = fake.calls()
    engines = [call for call in calls if "inference_python/infer.py" in call]
    assert len(engines) == len(set(engines)) == 2 * 2 * 2 * 2
    assert all("--benchmark=True" in call and "--warmup=2" in call for call in engines)
    (launched,) = [call for call in calls if call.startswith("-m paddle.distributed.launch")]
    assert "--nproc_per_node 2 train.py" in launched


def test_an_unknown_mode_is_refused_first(fake):
    status, printed = fake.run(TRAIN_SCRIPT, "no_such_file.txt", "lite_train")
    assert (status, error_code(printed)) == (2, "tipc-config")
    assert "lite_train" in printed
    assert "whole_train_whole_infer" in printed
    assert not fake.output.exists()


@pytest.mark.parametrize("words", [(), ("config.txt",), ("config.txt", LITE, "more")])
def test_a_wrong_number_of_arguments(fake, words):
    status, printed = fake.run(TRAIN_SCRIPT, *words)
    assert (status, error_code(printed)) == (2, "command-line")


def test_a_python_without_paddle_is_refused(fake):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, FAKE_MISSING="paddle")
    assert (status, error_code(printed)) == (2, "environment")
    assert printed.startswith("test_train_inference_python.sh: error: ")
    assert "line 3 (python)" in printed
    assert "paddle" in printed
    assert not fake.calls()
    assert not fake.output.exists()


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_a_time_limit_is_a_number(fake, value):
    config = fake.train_config()
    status, printed = fake.run(TRAIN_SCRIPT, config, LITE, TIPC_STEP_SECONDS=value)
    assert (status, error_code(printed)) == (2, "settings")
    assert "TIPC_STEP_SECONDS" in printed


def test_an_output_folder_that_cannot_be_made(fake):
    fake.output.touch()
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE)
    assert (status, error_code(printed)) == (2, "not-writable")


@pytest.mark.parametrize("plan", [{"silent": 1}, {"stale": 1}])
def test_a_checkpoint_of_an_earlier_run_does_not_pass(fake, trained, plan):
    assert trained()[0] == 0
    (fake.folder / "state" / "calls").unlink()
    status, _, statuses = trained(**plan)
    assert status == 1
    assert statuses["1 train"] == "FAILED"
    assert len(fake.calls()) == 1


@pytest.mark.parametrize(
    ("plan", "failed"),
    [
        ({"device": "gpu:0"}, "1 train"),
        ({"probs": [0.9, 0.8, 0.71]}, "4 infer"),  # other answers than in dygraph
        ({"probs": ["a", "b", "c"]}, "4 infer"),  # the judge itself breaks on these
    ],
)
def test_wrong_products_fail_their_step(trained, plan, failed):
    status, _, statuses = trained(**plan)
    assert status == 1
    assert next(name for name, found in statuses.items() if found != "OK") == failed


def test_a_quantized_model_may_not_lose_accuracy(fake, trained):
    model = fake.folder / "best.pdparams"
    model.mkdir()
    (model / "model_state.pdparams").write_text("weights")
    config = fake.train_config({37: f"infer_model:{model}", 48: f"--input_file:{fake.texts}"})
    klquant = {"mode": "klquant_whole_infer", "config": config}
    names = ["1 eval", "2 export", "3 infer", "4 quantize", "5 infer"]  # in float, in int8
    status, printed, statuses = trained(**klquant)
    assert status == 0, printed
    assert statuses == all_ok(names)
    for plan in ({"int8_accuracy": 0.9}, {"unquantized": True}):
        status, _, statuses = trained(**klquant, **plan)
        assert status == 1
        assert statuses == all_ok(names, **{"5 infer": "FAILED"})


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_what_was_started_and_nothing_else(fake, number, code):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        run = fake.start(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"hang": 1})
        pids = started_pids(fake)
        assert all(map(is_running, pids))
        run.send_signal(number)
        run.communicate(timeout=60)
        assert run.returncode == code
        assert not any(map(is_running, pids))
        assert is_running(other.pid)
        not_run = dict.fromkeys(STEPS[1:], "NOT")
        assert fake.statuses() == {"1 train": "INTERRUPTED", **not_run}
        results = (fake.output / "results_python.log").read_text()
        assert results.startswith(" Run failed with command - ")
    finally:
        other.kill()
        other.wait()


def test_a_killed_step_leaves_no_process(fake):
    run = fake.start(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"hang": 1})
    pids = started_pids(fake)
    os.kill(pids[0], signal.SIGKILL)  # its child has no parent now
    run.communicate(timeout=60)
    assert run.returncode == 1
    assert fake.statuses()["1 train"] == "FAILED"
    assert not any(map(is_running, pids))


def test_what_a_good_step_leaves_behind_is_stopped(fake, trained):
    status, printed, _ = trained(litter=1)
    assert status == 0, printed
    assert not any(map(is_running, started_pids(fake)))


def test_sigterm_while_a_server_starts(fake):
    plan, env = {"server": "hangs"}, {"TIPC_READY_SECONDS": NEVER}
    run = fake.start(SERVING_SCRIPT, fake.serving_config(), plan=plan, **env)
    pids = started_pids(fake)
    run.terminate()
    run.communicate(timeout=100)
    assert run.returncode == 143
    assert not any(map(is_running, pids))
    assert fake.statuses()["3 serve"] == "INTERRUPTED"


def test_a_step_has_a_time_limit(fake, trained):
    # The first step hangs: a slow machine may need longer than the limit for the others.
    status, printed, statuses = trained(hang=1, env={"TIPC_STEP_SECONDS": "3"})
    assert status == 1
    assert "FAILED with status 124" in printed
    assert statuses["1 train"] == "FAILED"
    assert not any(map(is_running, started_pids(fake)))


def test_two_runs_side_by_side(fake, tmp_path):
    config = fake.train_config()
    states = [str(tmp_path / f"state{number}") for number in (1, 2)]
    runs = [fake.start(TRAIN_SCRIPT, config, LITE, FAKE_STATE=state) for state in states]
    printed = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], printed
    folders = fake.run_dirs()
    assert len(folders) == 2
    results = (fake.output / "results_python.log").read_text()
    assert results in [(folder / "results_python.log").read_text() for folder in folders]
    assert not list(fake.output.glob(".*"))


@pytest.mark.parametrize("name", ["results_python.log", "latest_python"])
def test_results_that_cannot_be_put_in_place_fail_the_run(fake, name):
    (fake.output / name).mkdir(parents=True)
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE)
    assert status == 1
    assert str(fake.output) in printed
    assert not list(fake.output.glob("**/.*"))


def test_serving_of_a_fake_server(fake, served):
    status, printed, statuses = served()
    assert status == 0, printed
    assert statuses == all_ok(SERVING_STEPS)
    results = (fake.output / "results_serving.log").read_text()
    assert results.count(" Run successfully with command - ") == 5
    (run_dir,) = fake.run_dirs()
    name = "server_infer_cpu_pipeline_http_usemkldnn_True_threads_2_precision_fp32_batchsize_1"
    assert "call 4" in (run_dir / f"{name}.log").read_text()
    assert not listens(port_of(fake))


NOT_READY = {"3 serve": "FAILED", "4 client": "SKIPPED"}


@pytest.mark.parametrize(
    ("server", "lines", "ready", "bad"),
    [
        ("hangs", {}, "2", NOT_READY),
        ("dies", {}, NEVER, NOT_READY),
        ("", {12: "op.convbert.local_service_conf.device_type:1"}, NEVER, NOT_READY),
        ("ends badly", {}, NEVER, {"5 stop": "FAILED"}),
        ("leaves an orphan", {}, NEVER, {"5 stop": "FAILED"}),
    ],
)
def test_a_server_that_fails(fake, served, server, lines, ready, bad):
    status, printed, statuses = served(lines, ready, server=server)
    assert status == 1
    assert statuses == all_ok(SERVING_STEPS, **bad)
    if server in ("hangs", "leaves an orphan"):
        assert not any(map(is_running, started_pids(fake)))
    if server == "leaves an orphan":  # it holds the port
        assert str(port_of(fake)) in printed.partition("FAILED with status 1")[2]


def test_a_runner_that_breaks_leaves_no_server(fake):
    status, _ = fake.run(SERVING_SCRIPT, fake.serving_config(), plan={"vandal": 4})
    assert status == 1
    assert not listens(port_of(fake))


def port_of(fake) -> int:
    """The HTTP port that the server was started with."""
    (call,) = [call for call in fake.calls() if "web_service.py" in call]
    return int(re.search(r"--port=(\d+)", call)[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
