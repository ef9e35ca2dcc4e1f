"""The TIPC runner against a fake python: what fails, fails; what was started, is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.helpers.tipc import ROOT, SERVING_SCRIPT, TRAIN_SCRIPT, FakeRun, is_running

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
LITE = "lite_train_lite_infer"
NAMES = ["train", "eval", "export", "infer", "infer"]
# Steps that cannot be run once step k has failed.
SKIPPED_AFTER = {1: [2, 3, 4, 5], 2: [4, 5], 3: [4, 5], 4: [], 5: []}


@pytest.fixture
def fake(tmp_path):
    return FakeRun(tmp_path)


def wait_for(path, seconds=30):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)
    return path.read_text()


def test_a_good_run(fake):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE)
    assert status == 0, printed
    assert "all 5 steps OK" in printed
    (run_dir,) = fake.run_dirs()
    results = (fake.output / "results_python.log").read_text()
    assert results == (run_dir / "results_python.log").read_text()
    assert results.count(" Run successfully with command - ") == 5
    assert all(line.endswith(".log 2>&1 !  ") for line in results.splitlines())
    assert (run_dir / "summary.txt").read_text().endswith("\nall 5 steps OK\n")
    assert (fake.output / "latest_python").resolve() == run_dir
    training = run_dir / "norm_train_gpus_-1_autocast_null"
    name = "python_infer_cpu_usemkldnn_False_threads_2_precision_fp32_batchsize_8.log"
    assert "fake infer.py, call 5" in (training / name).read_text()


@pytest.mark.parametrize("k", range(1, 6))
def test_a_failing_step_fails_the_run(fake, k):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"fail": k})
    assert status == 1
    assert f"FAILED at step {k} ({NAMES[k - 1]})" in printed
    assert f"step {k} of 5, {NAMES[k - 1]}: FAILED with status 3" in printed
    assert f"    | fake {'infer' if k > 3 else ''}" in printed  # the end of its log
    results = (fake.output / "results_python.log").read_text()
    assert results.count(" Run failed with command - ") == 1
    skipped = [n for n in range(1, 6) if f"step {n} of 5, {NAMES[n - 1]}: skipped" in printed]
    assert skipped == SKIPPED_AFTER[k]
    assert results.count(" Run skipped with command - ") == len(skipped)
    assert len(fake.calls()) == 5 - len(skipped)


def test_every_combination_is_run(fake):
    lines = {4: "gpu_list:-1|-1,-1", 43: "--cpu_threads:1|2", 44: "--batch_size:1|8"}
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(lines), LITE)
    assert status == 0, printed
    calls = fake.calls()
    engines = [call for call in calls if "inference_python/infer.py" in call]
    assert len(engines) == len(set(engines)) == 2 * 2 * 2 * 2
    launched = [call for call in calls if call.startswith("-m paddle.distributed.launch")]
    assert len(launched) == 1
    assert "--nproc_per_node 2 train.py" in launched[0]


def test_an_unknown_mode_is_refused_first(fake):
    status, printed = fake.run(TRAIN_SCRIPT, "no_such_file.txt", "lite_train")
    assert status == 2
    assert "unknown mode 'lite_train'" in printed
    assert "whole_train_whole_infer" in printed
    assert not fake.output.exists()


def test_a_python_without_paddle_is_refused(fake):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, FAKE_LACKS="paddle")
    assert status == 2
    assert "line 3 (python): " in printed
    assert "has no paddle: run bash shell/serving.sh setup" in printed
    assert printed.startswith("test_train_inference_python.sh: error: ")
    assert printed.count("\n") == 1
    assert not fake.calls()
    assert not fake.output.exists()


def test_a_missing_line_is_named(fake):
    config = fake.train_config()
    lines = config.read_text().splitlines()
    del lines[14]  # trainer:norm_train
    config.write_text("\n".join(lines))
    status, printed = fake.run(TRAIN_SCRIPT, config, LITE)
    assert status == 2
    assert "line 15 (trainer): expected trainer:..., found 'norm_train:" in printed
    assert not fake.calls()


@pytest.mark.parametrize("number", [10, 13])
def test_data_that_were_not_prepared_are_missed_first(fake, number):
    key = {10: "--model_name_or_path", 13: "--data_dir"}[number]
    config = fake.train_config({number: f"{key}:test_tipc/data/none/lite"})
    status, printed = fake.run(TRAIN_SCRIPT, config, LITE)
    assert status == 2
    needed = f"run bash test_tipc/prepare.sh {config} {LITE}\n"
    assert printed.endswith(f"error: no test_tipc/data/none/lite: {needed}")
    assert not fake.calls()


@pytest.mark.parametrize(
    ("plan", "said"),
    [({"silent": 1}, "did not write"), ({"stale": 1}, "is older than this step")],
)
def test_a_stale_checkpoint_does_not_pass(fake, plan, said):
    # An earlier, good run leaves a checkpoint where a careless runner would find it.
    fake.run(TRAIN_SCRIPT, fake.train_config(), LITE)
    (fake.folder / "state" / "calls").unlink()
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, plan=plan)
    assert status == 1
    assert "FAILED at step 1 (train)" in printed
    assert said in printed
    assert len(fake.calls()) == 1


def test_the_device_is_asserted(fake):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"device": "gpu:0"})
    assert status == 1
    assert "device is gpu:0, asked for cpu" in printed
    assert "FAILED at step 1 (train)" in printed


def test_other_answers_than_dygraph_fail(fake):
    plan = {"probs": [0.9, 0.8, 0.71]}
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, plan=plan)
    assert status == 1
    assert "a probability differs from" in printed
    assert "FAILED at step 4 (infer)" in printed


def test_a_quantized_model_may_not_lose_accuracy(fake):
    model = fake.folder / "best.pdparams"
    model.mkdir()
    (model / "model_state.pdparams").write_text("weights")
    lines = {37: f"infer_model:{model}", 48: f"--input_file:{fake.texts}"}
    config = fake.train_config(lines)
    status, printed = fake.run(TRAIN_SCRIPT, config, "klquant_whole_infer")
    assert status == 0, printed
    # eval, export, infer, quantize, infer int8 rounded in float, infer int8 with oneDNN
    assert "all 6 steps OK" in printed
    for plan, said in (
        ({"int8_accuracy": 0.9}, "accuracy falls from 1.0000 to 0.9000"),
        ({"unquantized": True}, "nothing in this model is quantized"),
        ({"emulated": True}, "no integer kernel ran"),
    ):
        (fake.folder / "state" / "calls").unlink(missing_ok=True)
        status, printed = fake.run(TRAIN_SCRIPT, config, "klquant_whole_infer", plan=plan)
        assert status == 1
        assert said in printed


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_what_was_started_and_nothing_else(fake, number, code):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        run = fake.start(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"hang": 1})
        pids = [int(pid) for pid in wait_for(fake.folder / "state" / "pids").split()]
        assert all(map(is_running, pids))
        run.send_signal(number)
        printed, _ = run.communicate(timeout=60)
        assert run.returncode == code
        assert not any(map(is_running, pids))
        assert is_running(stranger.pid)
        assert "FAILED at step 1 (train): INTERRUPTED; 5 of 5 not OK" in printed
        results = (fake.output / "results_python.log").read_text()
        assert results.startswith(" Run failed with command - ")
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_good_step_leaves_behind_is_stopped(fake):
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE, plan={"litter": 1})
    assert status == 0, printed
    pids = map(int, (fake.folder / "state" / "pids").read_text().split())
    assert not any(map(is_running, pids))


def test_sigterm_while_a_server_starts(fake):
    run = fake.start(SERVING_SCRIPT, fake.serving_config(), plan={"server": "hangs"})
    pids = [int(pid) for pid in wait_for(fake.folder / "state" / "pids").split()]
    began = time.monotonic()
    run.terminate()
    printed, _ = run.communicate(timeout=100)
    assert run.returncode == 143
    assert time.monotonic() - began < 30  # not the 120 s that a server has to become ready
    assert not any(map(is_running, pids))
    assert "FAILED at step 3 (serve): INTERRUPTED" in printed


def test_a_step_has_a_time_limit(fake):
    config = fake.train_config()
    status, printed = fake.run(TRAIN_SCRIPT, config, LITE, plan={"hang": 3}, TIPC_STEP_SECONDS="1")
    assert status == 1
    assert "no end within 1 s" in printed
    assert "FAILED at step 3 (export)" in printed
    child = int((fake.folder / "state" / "pids").read_text().split()[1])
    assert not is_running(child)


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
    assert not list(fake.output.glob(".results*"))


@pytest.mark.parametrize("name", ["results_python.log", "latest_python"])
def test_results_that_cannot_be_put_in_place_fail_the_run(fake, name):
    (fake.output / name).mkdir(parents=True)
    status, printed = fake.run(TRAIN_SCRIPT, fake.train_config(), LITE)
    assert status == 1
    assert "are not those of this run" in printed
    assert "all 5 steps OK" in printed
    assert not list(fake.output.glob("**/.results*"))


def test_serving_of_a_fake_server(fake):
    status, printed = fake.run(SERVING_SCRIPT, fake.serving_config())
    assert status == 0, printed
    results = (fake.output / "results_serving.log").read_text()
    assert results.count(" Run successfully with command - ") == 5
    (run_dir,) = fake.run_dirs()
    name = "server_infer_cpu_pipeline_http_usemkldnn_True_threads_2_precision_fp32_batchsize_1"
    assert "call 4" in (run_dir / f"{name}.log").read_text()
    assert not listens(port_of(fake))


def test_a_server_that_never_becomes_ready(fake):
    began = time.monotonic()
    status, printed = fake.run(
        SERVING_SCRIPT, fake.serving_config(), plan={"server": "hangs"}, TIPC_READY_SECONDS="2"
    )
    assert status == 1
    assert "was not ready within 2 s" in printed
    assert "FAILED at step 3 (serve): FAILED; 2 of 5 not OK" in printed  # the ports are free again
    assert "step 4 of 5, client: skipped" in printed
    assert time.monotonic() - began < 30
    pids = map(int, (fake.folder / "state" / "pids").read_text().split())
    assert not any(map(is_running, pids))


def test_a_server_that_dies_is_noticed_at_once(fake):
    began = time.monotonic()
    status, printed = fake.run(SERVING_SCRIPT, fake.serving_config(), plan={"server": "dies"})
    assert status == 1
    assert "the server ended before it was ready" in printed
    assert "    | no such model" in printed
    assert time.monotonic() - began < 30  # the deadline is 120 s


def test_a_server_that_ends_badly_fails(fake):
    status, printed = fake.run(SERVING_SCRIPT, fake.serving_config(), plan={"server": "ends badly"})
    assert status == 1
    assert "the server ended with status 5" in printed
    assert "FAILED at step 5 (stop): FAILED; 1 of 5 not OK" in printed


def port_of(fake) -> int:
    """The HTTP port that the server was started with."""
    (call,) = [call for call in fake.calls() if "web_service.py" in call]
    return int(next(word for word in call.split() if word.startswith("--port="))[7:])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_stays_in_use_fails(fake):
    plan = {"server": "leaves an orphan"}
    try:
        status, printed = fake.run(SERVING_SCRIPT, fake.serving_config(), plan=plan)
        assert status == 1
        assert "FAILED at step 5 (stop): FAILED; 1 of 5 not OK" in printed
        assert f"port {port_of(fake)} is still in use" in printed
    finally:
        os.kill(int(wait_for(fake.folder / "state" / "pids")), signal.SIGKILL)


def test_a_runner_that_breaks_leaves_no_server(fake):
    status, printed = fake.run(SERVING_SCRIPT, fake.serving_config(), plan={"vandal": 4})
    assert status not in (0, 2)
    assert "No such file or directory" in printed
    assert not listens(port_of(fake))


def test_a_server_on_another_device_fails(fake):
    lines = {12: "op.convbert.local_service_conf.device_type:1"}
    status, printed = fake.run(SERVING_SCRIPT, fake.serving_config(lines))
    assert status == 1
    assert "the server says device is cpu, asked for gpu" in printed


def test_the_scripts_are_clean():
    shellcheck = os.path.join(os.path.dirname(sys.executable), "shellcheck")
    if not os.path.exists(shellcheck):
        pytest.skip("shellcheck is not installed beside this python")
    scripts = sorted(str(path) for path in (ROOT / "test_tipc").glob("*.sh"))
    assert len(scripts) == 6
    run = subprocess.run([shellcheck, "-x", *scripts], cwd=str(ROOT), stdout=subprocess.PIPE)
    assert run.returncode == 0, run.stdout.decode()
