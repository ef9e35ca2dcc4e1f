"""Measure the service under load on loopback and write the numbers as JSON and Markdown.

    python benchmarks/serving/load.py --size convbert-base --configs shipped plain

The models have the published sizes and random weights: speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import load_tools
import numpy as np
from report import ALONE, NO_FRONT, PLOTTED, TURNS, page, plot

from convbert.command.flags import make_parser
from convbert.command.machine import default_threads, set_cpu_environment
from convbert.command.start import exit_on_sigterm, run_main
from paddlenlp.utils.files import atomic_write

OP, LOCAL = "op.convbert", "op.convbert.local_service_conf"


def _workers(count: int, threads: int, batch: int, thread_op: bool = True):
    return (
        f"dag.is_thread_op={str(thread_op).lower()}",
        f"{OP}.concurrency={count}",
        f"{OP}.batch_size={batch}",
        f"service.run_texts={batch}",
        f"{LOCAL}.thread_num={threads}",
    )


_ONE_BY_EIGHT = _workers(1, 2, 8)
# Name -> settings that differ from the shipped config.yml. A thread worker lives in the pipeline's
# process, a process worker in one of its own.
CONFIGS = {
    "shipped": (),
    "1 thread worker x 2 cores, no batching": _workers(1, 2, 1),
    "1 thread worker x 2 cores, batches of 4": _workers(1, 2, 4),
    "1 thread worker x 2 cores, batches of 8": _ONE_BY_EIGHT,
    "1 thread worker x 2 cores, batches of 16": _workers(1, 2, 16),
    "2 thread workers x 1 core, no batching": _workers(2, 1, 1),
    "2 thread workers x 1 core, batches of 4": _workers(2, 1, 4),
    "2 thread workers x 1 core, batches of 8": _workers(2, 1, 8),
    "1 process worker x 2 cores, batches of 8": _workers(1, 2, 8, thread_op=False),
    "2 process workers x 1 core, no batching": _workers(2, 1, 1, thread_op=False),
    "2 process workers x 1 core, batches of 4": _workers(2, 1, 4, thread_op=False),
    "2 process workers x 1 core, batches of 8": _workers(2, 1, 8, thread_op=False),
    "2 process workers x 2 cores, batches of 8": _workers(2, 2, 8, thread_op=False),
    "batches of 8, waiting 5 ms for company": (*_ONE_BY_EIGHT, f"{OP}.auto_batching_timeout=5"),
    "batches of 8, no oneDNN": (*_ONE_BY_EIGHT, f"{LOCAL}.use_mkldnn=false"),
    "batches of 8, lengths padded to 8": (*_ONE_BY_EIGHT, "service.pad_multiple=8"),
    "batches of 8, lengths padded to 32": (*_ONE_BY_EIGHT, "service.pad_multiple=32"),
    "2 thread workers x 1 core, batches of 4, lengths padded to 8": (
        *_workers(2, 1, 4),
        "service.pad_multiple=8",
    ),
    "oneDNN keeps 12 shapes": (f"{LOCAL}.mkldnn_cache_capacity=12",),
}
PLAIN = "plain"
# Most of the machine that other programs may use during a point, from 0 to 1.
QUIET = 0.05
# Longest wait for that before a point is measured all the same.
WAIT_S = 30.0
# Requests of a turn, and seconds until the OpenMP threads of the turn before have gone to sleep.
BLOCK, SPIN_S = 10, 0.3


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", default="convbert-base", help="published size (%(default)s)")
    add("--cache", type=Path, help="keep the model here and use it again; without, made anew")
    add("--configs", nargs="+", default=["shipped", PLAIN], choices=[*CONFIGS, PLAIN])
    add("--clients", nargs="+", type=int, default=[1, 4, 16, 64])
    add("--seconds", type=float, default=15.0, help="time of each point (%(default)s)")
    add("--patience", type=int, default=3, help="most tries of a point (%(default)s)")
    reviews = load_tools.REVIEWS / "dev.tsv"
    add("--data", type=Path, default=reviews, help="sentences, as in dev.tsv of SST-2")
    add("--overhead", type=float, metavar="SECONDS", help="instead: in process and served in turns")
    add("--soak", type=float, metavar="SECONDS", help="instead: 16 clients, answers compared")
    add("--output", help="results/SIZE.json beside this script; points are added to it")
    return parser.parse_args(argv)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def open_service(name: str, model: Path, folder: Path) -> load_tools.Running:
    """Return the service of one configuration, not yet started."""
    ports = free_port(), free_port()
    if name == PLAIN:
        return load_tools.plain_service(model, *ports, folder)
    return load_tools.mended_service(model, *ports, folder, *CONFIGS[name])


def undisturbed(run: Callable[[], dict], patience: int, service=None) -> dict:
    """Return the numbers of ``run``, again while other programs disturb it; the quietest counts."""
    runs = []
    while len(runs) < patience:
        wait_for_quiet(service)
        others = load_tools.Others(service)
        result = run()
        runs.append({**result, "others": others.share()})
        if runs[-1]["others"] <= QUIET:
            break
    return min(runs, key=lambda result: result["others"])


def wait_for_quiet(service) -> None:
    """Return when other programs have left the machine alone for a second, or after a while."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        others = load_tools.Others(service)
        time.sleep(1.0)
        if others.share() <= QUIET:
            return


def in_process(model: Path) -> Callable[[str], Any]:
    """Return a function from text to label in this process, as infer.py does it."""
    processor, predictor = open_model(model)
    return lambda text: label(processor, predictor, text)


def over_grpc(service: load_tools.Running) -> Callable[[str], Any]:
    """Return a function that asks the pipeline itself."""
    import grpc

    from convbert.serving.rpc import text_message, unary_call

    call = unary_call(grpc.insecure_channel(f"127.0.0.1:{service.rpc_port}"))

    def ask(text: str) -> None:
        response = call(text_message(text), timeout=60)
        if response.err_no:
            raise RuntimeError(response.err_msg)

    return ask


def over_http(service: load_tools.Running) -> Callable[[str], Any]:
    """Return a function that asks the service, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def ask(text: str) -> None:
        connection.request("POST", load_tools.PATH, json.dumps({"key": ["text"], "value": [text]}))
        answer = json.loads(connection.getresponse().read())
        if answer["err_no"]:
            raise RuntimeError(answer["err_msg"])

    return ask


def in_turns(args: argparse.Namespace, model: Path, folder: Path) -> dict:
    """Return the points of one client three ways: the same texts in turns, so that a machine whose
    speed drifts slows down all three."""
    texts = load_tools.read_texts(args.data)
    with open_service("shipped", model, folder) as service:
        ways = {ALONE: in_process(model), NO_FRONT: over_grpc(service), TURNS: over_http(service)}
        for ask in ways.values():
            for text in texts[: 3 * BLOCK]:  # every shape
                ask(text)
        times, turn, end = {name: [] for name in ways}, 0, time.monotonic() + args.overhead
        others = load_tools.Others(service)
        while time.monotonic() < end:
            block = [texts[(turn + place) % len(texts)] for place in range(BLOCK)]
            turn += BLOCK
            for name, ask in ways.items():
                time.sleep(SPIN_S)
                times[name] += [seconds(ask, text) for text in block]
        share = others.share()
    base = np.array(times[ALONE])
    return {
        name: {"1": {**speed(found), "adds_ms": adds(found, base), "others": share}}
        for name, found in times.items()
    }


def seconds(ask: Callable[[str], Any], text: str) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    ask(text)
    return time.perf_counter() - began


def speed(times) -> dict:
    """Return the numbers of a point of one client."""
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {
        "answers": len(times),
        "answers_per_s": round(1 / np.mean(times), 2),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
    }


def adds(times, base: np.ndarray) -> float:
    """Return the median over the texts of what they take longer, in ms."""
    return round(float(np.median(np.array(times) - base)) * 1000, 1)


def open_model(model: Path):
    """Return the text processor and the predictor with the shipped settings."""
    from convbert.inference.engines.paddle_inference import EngineOptions, Predictor
    from convbert.text.processing import TextProcessor

    processor = TextProcessor.from_dir(str(model), max_seq_len=128, pad_multiple=16)
    options = EngineOptions(cpu_threads=default_threads())
    return processor, Predictor(str(model), options)


def label(processor, predictor, text: str):
    """Return the Prediction of one text."""
    return processor.decode(predictor.run(*processor.collate(processor.encode([text]))))[0]


def measure(args: argparse.Namespace, model: Path, folder: Path) -> Iterator[dict]:
    """Yield the points of each configuration asked for, as soon as they are measured."""
    texts = load_tools.read_texts(args.data)
    for number, name in enumerate(args.configs):
        with open_service(name, model, folder / str(number)) as service:
            load_tools.Load(service.port, 2, 5.0, texts).run()  # every shape once
            found = {}
            for clients in args.clients:
                load = load_tools.Load(service.port, clients, args.seconds, texts)
                result = undisturbed(load.run, args.patience, service)
                found[str(clients)] = result
                print(f"{args.size}, {name}, {clients} clients: {json.dumps(result)}", flush=True)
            yield {name: found}


def soak(args: argparse.Namespace, model: Path, folder: Path) -> dict:
    """Run 16 clients for long, comparing each answer with infer.py's way, watching the memory."""
    texts = load_tools.read_texts(args.data)
    processor, predictor = open_model(model)
    answers = {text: label(processor, predictor, text) for text in texts}
    expected = {text: (answer.label_id, answer.prob) for text, answer in answers.items()}
    del predictor
    memory = []
    with open_service("shipped", model, folder) as service:
        load = load_tools.Load(service.port, 16, args.soak, texts, expected)
        result = load.run(every=args.soak / 60, watch=lambda: memory.extend(readings(service)))
    result = {"seconds": args.soak, "clients": 16, **written(), **result, "memory_mb": memory}
    print(json.dumps({**result, "memory_mb": memory[::10]}))
    return result


def readings(service: load_tools.Running) -> Iterator[dict]:
    """Yield the memory now; nothing while the service does not say where its pipeline is."""
    try:
        yield service.memory_mb()
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"no reading of the memory: {error!r}", flush=True)


def machine() -> dict:
    """Return what the numbers depend on."""
    import paddle

    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": default_threads(),
        "python": platform.python_version(),
        "paddle": paddle.__version__,
    }


def written() -> dict:
    """Return when and for which state of the repository numbers were measured."""
    command = ["git", "-C", str(load_tools.ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {"date": time.strftime("%Y-%m-%d"), "commit": commit or "unknown"}


def write(output: Path, size: str, points: dict, soaked: dict | None = None) -> None:
    """Add points, or a soak, to a result file, and rewrite its page and plot."""
    kept = json.loads(output.read_text()) if output.is_file() else {}
    results = {**kept, "size": size, "machine": machine()}
    results["points"] = {**kept.get("points", {}), **points}
    results["measured"] = {**kept.get("measured", {}), **dict.fromkeys(points, written())}
    if soaked:
        results["soak"] = soaked
    with atomic_write(output) as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with atomic_write(output.with_suffix(".md")) as file:
        file.write(page(results))
    if not set(PLOTTED) - set(results["points"]):
        plot(results, output.with_suffix(".png"))


def main(argv=None) -> None:
    """Measure and write."""
    args = parse_args(argv)
    set_cpu_environment()
    exit_on_sigterm()
    output = Path(args.output or Path(__file__).parent / "results" / f"{args.size}.json")
    with tempfile.TemporaryDirectory() as folder:
        model = load_tools.make_model(args.size, args.cache or Path(folder) / "models")
        if args.soak:
            write(output, args.size, {}, soak(args, model, Path(folder)))
            return
        if args.overhead:
            write(output, args.size, in_turns(args, model, Path(folder)))
            return
        for points in measure(args, model, Path(folder)):
            write(output, args.size, points)


if __name__ == "__main__":
    run_main(main)
