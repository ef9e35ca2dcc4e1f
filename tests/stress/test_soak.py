"""Load of 16 clients while processes are killed: each answer is right or says why there is none."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

from deploy.serving_python import control
from tests.helpers.serving import Served, wait_gone
from tests.helpers.waiting import wait_until

CLIENTS = 16
WORDS = ("a good film", "the script is bad", "a very dull story", "not good", "fine , great plot")
TEXTS = [f"{text}{' very' * count} ." for text in WORDS for count in range(8)]
# Beyond the last sign of life /health may say "ready" for so long.
SIGN_OF_LIFE_S = 5.0


class Client(threading.Thread):
    """Asks and checks each answer until it is stopped."""

    def __init__(self, port: int, expected: dict[str, list], first: int):
        super().__init__(daemon=True)
        self._port, self._expected, self._first = port, expected, first
        self.seen, self.wrong = Counter(), []
        self.stopped = threading.Event()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for number in range(self._first, 1 << 60):
            if self.stopped.is_set():
                connection.close()
                return
            text = TEXTS[number % len(TEXTS)]
            body = json.dumps({"key": ["text"], "value": [text]})
            try:
                connection.request("POST", "/convbert/prediction", body)
                response = connection.getresponse()
                answer = json.load(response)
            except (OSError, http.client.HTTPException, ValueError):
                self.seen["no answer"] += 1
                connection.close()
                time.sleep(0.1)
                continue
            self.seen[response.status] += 1
            if response.status != 200:
                time.sleep(0.1)
            elif not same(answer["value"], self._expected[text]):
                self.wrong.append((text, answer))


def same(values: list[str], expected: list[str]) -> bool:
    """Whether an answer has the label, and the probability up to rounding in another batch."""
    (label, prob, *_), (label_wanted, prob_wanted, *_) = values, expected
    (prob,), (prob_wanted,) = json.loads(prob), json.loads(prob_wanted)
    return label == label_wanted and abs(prob - prob_wanted) < 1e-4


def kill_front(service) -> None:
    """Kill the supervisor, which is the HTTP front end too, and start the service again."""
    family = service.family()
    service.process.kill()
    wait_gone(family)
    service.start()


def kill_pipeline(service) -> None:
    """Kill the pipeline's main process; the supervisor replaces it."""
    service.pipeline.kill()


def kill_worker(service) -> None:
    """Kill the pipeline's worker, the child with the model."""
    max(service.pipeline.children(), key=lambda child: child.memory_info().rss).kill()


def ready_again(service, kill) -> str:
    """Kill; return the seconds until a text is labelled again, and the CPU seconds of the start."""
    before, began = service.health()["pipeline_pid"], time.monotonic()
    kill(service)

    def labels_again() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException, TypeError):
            return service.health()["pipeline_pid"] != before and service.ask("fine")[0] == 200
        return False

    wait_until(labels_again, service.log)
    seconds = time.monotonic() - began
    new = [service.pipeline, *service.pipeline.children(recursive=True)]
    used = sum(sum(process.cpu_times()[:2]) for process in new)
    return f"{seconds:.1f} s ({used:.1f} s of CPU)"


def test_load_and_kills(model_dir, tmp_path, amount):
    with Served(model_dir, tmp_path / "run", "dag.is_thread_op=false") as service:
        expected = {text: service.ask(text)[1]["value"] for text in TEXTS}
        clients = [Client(service.port, expected, first) for first in range(CLIENTS)]
        for client in clients:
            client.start()
        seconds = {}
        kills = (kill_worker, kill_pipeline, kill_front)
        for kill in kills if amount("seconds") > 60 else kills[:1]:
            time.sleep(amount("seconds") / 4)
            seconds[kill.__name__] = ready_again(service, kill)
        time.sleep(amount("seconds") / 4)
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join(90)
            assert not client.is_alive(), "a request hangs"
        assert control.stop(str(service.run_dir)) == 0
    seen = sum((client.seen for client in clients), Counter())
    assert not [wrong for client in clients for wrong in client.wrong]
    assert set(seen) <= {200, 503, "no answer"}
    if "kill_front" not in seconds:
        assert "no answer" not in seen
    assert seen[200] > CLIENTS
    again = ", ".join(f"{name} {value}" for name, value in seconds.items())
    print(f"\n{dict(seen)}, 0 wrong; ready again after {again}")


def test_how_long_health_says_ready(model_dir, tmp_path):
    """A pipeline that is stopped, and so answers nothing but does not end."""
    with Served(model_dir, tmp_path / "run", "dag.is_thread_op=false") as service:
        assert service.ask("fine")[0] == 200
        family = service.pipeline.children()
        for process in family:
            process.suspend()
        began = time.monotonic()
        wait_until(lambda: service.health()["status"] != "ready")
        seconds = time.monotonic() - began
        assert service.health()["status"] == "silent"
        for process in family:
            process.resume()
        service.wait_for("ready")
    assert seconds < SIGN_OF_LIFE_S
    print(f"\n/health said ready for {seconds:.1f} s after the last answer")
