"""Signals: some wait until a step is done, none leaves anything half-written."""

import os
import signal

import pytest

from convbert.command import machine
from convbert.command.start import EXIT_TERMINATED, exit_on_sigterm, hold_signals, start_paddle
from tests.conftest import start_script
from tests.helpers.waiting import wait_while_running


@pytest.fixture
def default_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_while_paddle_is_imported(monkeypatch, default_handlers):
    imported = []

    def import_paddle(threads):
        signal.raise_signal(signal.SIGTERM)
        imported.append("the rest of the import")

    monkeypatch.setattr(machine, "set_cpu_environment", import_paddle)
    monkeypatch.setattr(machine, "return_freed_memory", lambda: None)
    exit_on_sigterm()  # as run_main does
    with pytest.raises(SystemExit) as ended:
        start_paddle()
    assert ended.value.code == EXIT_TERMINATED
    assert imported


class Arrived(Exception):
    """Raised by the handler of these tests."""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], name="number")
def _number(request):
    def handler(number, frame):
        raise Arrived(number)

    before = signal.signal(request.param, handler)
    yield request.param
    signal.signal(request.param, before)


def held(number, rest):
    """Get a signal inside the block, then do ``rest()`` there."""
    with hold_signals():
        os.kill(os.getpid(), number)
        rest()


def test_a_signal_waits_for_the_end_of_the_block(number):
    done = []
    with pytest.raises(Arrived):
        held(number, lambda: done.append("the rest of the block"))
    assert done


def test_an_error_in_the_block_wins_and_the_handler_is_back(number):
    with pytest.raises(KeyError):
        held(number, lambda: {}["missing"])
    with pytest.raises(Arrived):
        os.kill(os.getpid(), number)


def test_sigterm_in_the_middle_of_an_export(tmp_path, tiny_checkpoint):
    flags = ["--model_path", tiny_checkpoint, "--save_inference_dir", tmp_path / "convbert_infer"]
    run = start_script("tools/export_model.py", *flags)
    wait_while_running(lambda: list(tmp_path.iterdir()), run)  # the unfinished directory
    run.terminate()
    assert run.wait(timeout=60) not in (0, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
