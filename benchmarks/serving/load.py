"""Measure the HTTP service under load on loopback, and the time that it adds to a request.

    bash benchmarks/run.sh serving                        Paddle, OpenVINO, OpenVINO in int8
    bash benchmarks/run.sh serving --sides openvino --name "batch 4" --opt op.convbert.batch_size=4
    bash benchmarks/run.sh serving --size tiny --seconds 1 --overhead 1 --output runs/tiny.json
    bash benchmarks/run.sh serving --soak 600             16 clients, every answer checked

The model has a published size and random weights, because speed does not depend on their values.
Results are added to results/SIZE.json; the page and the plot beside it are made from that file.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np
from psutil import Process

from benchmarks.ours import MODELS, export, quantize, write_random
from benchmarks.serving.clients import connect, run_load, send
from benchmarks.serving.report import write_report
from benchmarks.sides import SETTLE_SECONDS
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, run_step, start_paddle
from convbert.serving.process.service_dir import find_running
from paddlenlp.utils.checkout import REVIEWS, ROOT

CONFIG = ROOT / "deploy" / "serving_python" / "config.yml"
CONTROL = CONFIG.with_name("control.py")
ENVIRONMENT = dict(os.environ)  # a copy, because this program changes its own
LOOPBACK = ("127.0.0.1", 0)  # a free port
WARM_S = 5.0
TURN = 10  # requests of a turn when the service is compared with the same work in process
SOAK_CLIENTS, SOAK_SAMPLES = 16, 60
# side -> model, settings that differ from the shipped ones
SIDES: dict[str, tuple[str, list[str]]] = {
    "paddle": (
        "float",
        ["op.convbert.local_service_conf.engine=paddle", "service.pad_multiple=16"],
    ),
    "openvino": ("float", []),
    "openvino int8": ("int8", []),
}


def main(argv=None) -> None:
    """Measure, add to the result, write the page and the plot."""
    parser = make_parser("Measure the HTTP service under load on loopback.")
    add = parser.add_argument
    add("--size", default="convbert-base", choices=tuple(MODELS), help="model")
    add("--sides", nargs="+", choices=tuple(SIDES), default=list(SIDES), help="(default: all)")
    add(
        "--opt",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="also measure these (default: none)",
    )
    add("--name", default="other settings", help="name of the additional side in the result")
    add("--clients", nargs="+", type=int_at_least(1), default=[1, 16], help="(default: 1 16)")
    add("--seconds", type=float, default=10.0, help="duration of each measurement")
    add("--overhead", type=float, default=8.0, help="seconds of the comparison in process")
    add("--soak", type=float, metavar="SECONDS", help="run 16 clients and check every answer")
    add("--output", type=Path, help="JSON file (default: results/SIZE.json next to this script)")
    args = parser.parse_args(argv)
    start_paddle()
    import openvino
    import paddle

    output = args.output or HERE / "results" / f"{args.size}.json"
    result = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # for compiled models
        sides = choose_sides(args)
        models = make_models(args.size, work, {model for model, _ in sides.values()})
        if args.soak:
            result["soak"] = soak(args, models["float"], work)
        else:
            points = measure(args, sides, models, work)
            result["points"] = {**result.get("points", {}), **points}
    versions = {"paddle": paddle.__version__, "openvino": openvino.__version__.split("-")[0]}
    write_report(output, {**result, "size": args.size, **provenance(**versions)})


def choose_sides(args: argparse.Namespace) -> dict[str, tuple[str, list[str]]]:
    """Return the sides to measure: those of --sides, and an additional one for --opt."""
    if args.soak:
        return {"soak": ("float", args.opt)}
    other = {args.name: ("float", args.opt)} if args.opt else {}
    return {**{name: SIDES[name] for name in args.sides}, **other}


def make_models(size: str, work: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """Make a random model; return its served directories, "float" and quantized ("int8")."""
    from convbert.serving.served_model import convert

    write_random(size, work)
    export(work)
    if "int8" in kinds:
        quantize(work)
    served = {kind: work / f"served-{kind}" for kind in kinds}
    for kind, folder in served.items():
        convert(str(work / kind), str(folder), str(work / f"client-{kind}"))
    return served


@contextmanager
def service(served: Path, run_dir: Path, settings: list[str]) -> Iterator[tuple[int, Process]]:
    """Run the service; yield its port and its main process.

    It gets the environment with which this program was started, without the program's own changes.

    Args:
        served: converted model.
        run_dir: for the files of the service.
        settings: ``KEY=VALUE`` of config.yml that differ from the shipped ones.
    """
    with socket.create_server(LOOPBACK) as first, socket.create_server(LOOPBACK) as second:
        port, rpc_port = first.getsockname()[1], second.getsockname()[1]
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    flags = ["--model_dir", served, "--port", port, "--rpc_port", rpc_port, "--run_dir", run_dir]
    flags += ["--opt", *settings] if settings else []
    run_step([sys.executable, CONTROL, "start", *flags], env=environment, stdout=sys.stderr)
    try:
        yield port, find_running(str(run_dir)).process()
    finally:
        run_step([sys.executable, CONTROL, "stop", "--run_dir", run_dir], stdout=sys.stderr)


def memory_mb(process: Process) -> float:
    """Return the resident memory of a process and all processes below it."""
    family = [process, *process.children(recursive=True)]
    return round(sum(each.memory_info().rss for each in family) / 1e6, 1)


def measure(args: argparse.Namespace, sides, models: dict[str, Path], work: Path) -> dict[str, Any]:
    """Return the results for each number of clients, by name of the side."""
    texts, points, run = read_texts(), {}, time.strftime("%H:%M:%S")
    with ExitStack() as stack:
        services = {}
        for number, (name, (model, opts)) in enumerate(sides.items()):
            running = service(models[model], work / f"run{number}", opts)
            port, _ = services[name] = stack.enter_context(running)
            with urlopen(f"http://127.0.0.1:{port}/health") as answer:
                health = json.load(answer)
            reported = {key: health[key] for key in ("engine", "precision")}
            points[name] = {"settings": opts, "run": run, **when(), "clients": {}, **reported}
            run_load(port, 2, WARM_S, texts)  # every shape once
        for clients in args.clients:
            for name, (port, process) in services.items():
                found = run_load(port, clients, args.seconds, texts)
                found["memory_mb"] = memory_mb(process)
                points[name]["clients"][str(clients)] = found
                print(f"{name}, {clients} clients: {json.dumps(found)}", flush=True)
        for name, (model, opts) in sides.items():
            way = in_process(models[model], opts)
            points[name]["overhead"] = overhead(way, services[name][0], texts, args.overhead)
            print(f"{name}: {json.dumps(points[name]['overhead'])}", flush=True)
    return points


def overhead(way: Callable[[str], Any], port: int, texts: list[str], seconds: float):
    """Return the times of one client in process and over HTTP in ms, for the same texts in
    turns."""
    connection = connect(port)
    ways = {"in_process": way, "http": lambda text: send(connection, text)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for each in ways.values():
        for text in texts[: 3 * TURN]:  # most shapes
            each(text)
    start, number = time.monotonic(), 0
    while not number or time.monotonic() - start < seconds:
        part = [texts[(number + place) % len(texts)] for place in range(TURN)]
        number += TURN
        for name, each in ways.items():
            time.sleep(SETTLE_SECONDS)
            times[name] += [milliseconds(each, text) for text in part]
    adds = float(np.median(np.subtract(times["http"], times["in_process"])))
    medians = {f"{name}_p50_ms": round(float(np.median(ms)), 1) for name, ms in times.items()}
    return {"texts": number, **medians, "adds_ms": round(adds, 1)}


def in_process(served: Path, opts: list[str]) -> Callable[[str], Any]:
    """Return a function that does the service's work for a text in this process."""
    from convbert.serving.config import load_settings
    from convbert.serving.pipeline.runner import Runner

    runner = Runner(load_settings(str(CONFIG), opts, str(served)))
    return lambda text: runner.processor.decode(runner.run(runner.encode([text])))[0]


def milliseconds(way: Callable[[str], Any], text: str) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    way(text)
    return (time.perf_counter() - began) * 1000


def soak(args: argparse.Namespace, served: Path, work: Path) -> dict[str, Any]:
    """Send for a long time; compare each answer with that in process; record memory."""
    texts = read_texts()
    way, memory = in_process(served, args.opt), []
    expected = {text: way(text) for text in texts}
    running = service(served, work / "run", args.opt)
    with running as (port, process), ThreadPoolExecutor(1) as pool:
        load = pool.submit(run_load, port, SOAK_CLIENTS, args.soak, texts, expected)
        while not load.done():
            memory.append(memory_mb(process))
            wait([load], timeout=args.soak / SOAK_SAMPLES)
    early, late = memory[len(memory) // 10], memory[-1]
    return {**when(), "seconds": args.soak, **load.result(), "early_mb": early, "end_mb": late}


def read_texts() -> list[str]:
    """Return the sentences that are sent."""
    lines = (REVIEWS / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def when() -> dict[str, str]:
    """Return date and commit, which are recorded for each part of a result."""
    record = provenance()
    return {"date": record["date"], "commit": record["commit"]}


if __name__ == "__main__":
    run_main(main)
