"""Measure the HTTP service under load on loopback, and the time that it adds to a request.

    bash benchmarks/run.sh serving                        Paddle, OpenVINO, OpenVINO in int8
    bash benchmarks/run.sh serving --sides openvino --name "batch 4" --opt op.convbert.batch_size=4
    bash benchmarks/run.sh serving --size tiny --seconds 1 --overhead 1 --output runs/tiny.json
    bash benchmarks/run.sh serving --soak 600             16 clients, every answer checked

The model has a published size and random weights, because speed does not depend on their values.
Results are added to results/SIZE.json; the page and the plot beside it are made from that file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np

from benchmarks.models import MODELS
from benchmarks.serving.clients import Load, send
from benchmarks.serving.report import write_report
from benchmarks.serving.service import CONFIG, Service, make_models
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, start_paddle
from convbert.serving.config import load_settings
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.files import write_json

WARM_S = 5.0
# Requests of a turn when the service is compared with the same work in process, and seconds until
# the threads of the previous turn sleep.
TURN, SETTLE_S = 10, 0.3
PADDLE = ["op.convbert.local_service_conf.engine=paddle", "service.pad_multiple=16"]
# side -> model, settings that differ from the shipped ones
SIDES: dict[str, tuple[str, list[str]]] = {
    "paddle": ("float", PADDLE),
    "openvino": ("float", []),
    "openvino int8": ("int8", []),
}


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("Measure the HTTP service under load on loopback.")
    add = parser.add_argument
    add("--size", default="convbert-base", choices=tuple(MODELS), help="(%(default)s)")
    add("--sides", nargs="+", choices=tuple(SIDES), default=list(SIDES), help="(all)")
    add("--opt", nargs="+", default=[], metavar="KEY=VALUE", help="settings of an additional side")
    add("--name", default="other settings", help="its name in the result")
    add("--clients", nargs="+", type=int_at_least(1), default=[1, 16], help="(1 16)")
    add("--seconds", type=float, default=10.0, help="time of each point (%(default)s)")
    add(
        "--overhead",
        type=float,
        default=8.0,
        help="seconds of the comparison in process",
    )
    add("--soak", type=float, metavar="SECONDS", help="instead: 16 clients, every answer checked")
    add("--output", type=Path, help="JSON file (results/SIZE.json beside this script)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Measure, add to the result, write the page and the plot."""
    args = parse_args(argv)
    start_paddle()
    import openvino
    import paddle

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # for compiled models
        sides = choose_sides(args)
        models = make_models(args.size, work, {model for model, _ in sides.values()})
        if args.soak:
            found = {"soak": soak(args, models["float"], work)}
        else:
            found = {"points": measure(args, sides, models, work)}
    output = args.output or HERE / "results" / f"{args.size}.json"
    old = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    if "points" in found:
        found["points"] = {**old.get("points", {}), **found["points"]}
    versions = {"paddle": paddle.__version__, "openvino": openvino.__version__.split("-")[0]}
    write_json(output, {**old, "size": args.size, **provenance(**versions), **found})
    write_report(output)


def choose_sides(args: argparse.Namespace) -> dict[str, tuple[str, list[str]]]:
    """Return the sides to measure: those of --sides, and an additional one for --opt."""
    if args.soak:
        return {"soak": ("float", args.opt)}
    other = {args.name: ("float", args.opt)} if args.opt else {}
    return {**{name: SIDES[name] for name in args.sides}, **other}


def measure(args: argparse.Namespace, sides, models: dict[str, Path], work: Path) -> dict[str, Any]:
    """Return the results for each number of clients, by name of the side."""
    texts, points, run = read_texts(), {}, time.strftime("%H:%M:%S")
    with ExitStack() as stack:
        services = {}
        for number, (name, (model, opts)) in enumerate(sides.items()):
            service = Service(models[model], work / str(number), opts)
            services[name] = stack.enter_context(service)
            points[name] = {"settings": opts, "run": run, **when(), "clients": {}}
            points[name].update(running(service.port))
            Load(service.port, 2, WARM_S, texts).run()  # every shape once
        for clients in args.clients:
            for name, service in services.items():
                found = Load(service.port, clients, args.seconds, texts).run()
                found["memory_mb"] = service.memory_mb()
                points[name]["clients"][str(clients)] = found
                print(f"{name}, {clients} clients: {json.dumps(found)}", flush=True)
        for name, (model, opts) in sides.items():
            way = in_process(models[model], opts)
            points[name]["overhead"] = overhead(way, services[name].port, texts, args.overhead)
            print(f"{name}: {json.dumps(points[name]['overhead'])}", flush=True)
    return points


def running(port: int) -> dict[str, str]:
    """Return the engine and the precision that a service reports."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    health = json.loads(connection.getresponse().read())
    return {"engine": health["engine"], "precision": health["precision"]}


def overhead(way: Callable[[str], Any], port: int, texts: list[str], seconds: float):
    """Return the times of one client in process and over HTTP in ms, for the same texts in
    turns."""
    ways = {"in_process": way, "http": over_http(port)}
    for each in ways.values():
        for text in texts[: 3 * TURN]:  # most shapes
            each(text)
    times: dict[str, list[float]] = {name: [] for name in ways}
    start, number = time.monotonic(), 0
    while not number or time.monotonic() - start < seconds:
        part = [texts[(number + place) % len(texts)] for place in range(TURN)]
        number += TURN
        for name, each in ways.items():
            time.sleep(SETTLE_S)
            times[name] += [milliseconds(each, text) for text in part]
    adds = float(np.median(np.subtract(times["http"], times["in_process"])))
    medians = {f"{name}_p50_ms": round(float(np.median(ms)), 1) for name, ms in times.items()}
    return {"texts": number, **medians, "adds_ms": round(adds, 1)}


def in_process(served: Path, opts: list[str]) -> Callable[[str], Any]:
    """Return a function that does the service's work for a text in this process."""
    from convbert.serving.pipeline.runner import Runner

    runner = Runner(load_settings(str(CONFIG), opts, str(served)))
    return lambda text: runner.processor.decode(runner.run(runner.encode([text])))[0]


def over_http(port: int) -> Callable[[str], Any]:
    """Return a function that sends a text to the service, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    return lambda text: send(connection, text)


def milliseconds(way: Callable[[str], Any], text: str) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    way(text)
    return (time.perf_counter() - began) * 1000


def soak(args: argparse.Namespace, served: Path, work: Path) -> dict[str, Any]:
    """Run 16 clients for a long time; compare each answer with that in process; record memory."""
    texts = read_texts()
    way, memory = in_process(served, args.opt), []
    expected = {text: way(text) for text in texts}
    with Service(served, work / "service", args.opt) as service:
        load = Load(service.port, 16, args.soak, texts, expected)
        found = load.run(every=args.soak / 60, watch=lambda: memory.append(service.memory_mb()))
    early, late = memory[len(memory) // 10], memory[-1]
    return {**when(), "seconds": args.soak, **found, "early_mb": early, "end_mb": late}


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
