"""Measure the HTTP service under load on loopback, with one or two sets of settings.

    python benchmarks/serving/load.py
    python benchmarks/serving/load.py --name "batches of 4" --opt op.convbert.batch_size=4
    python benchmarks/serving/load.py --overhead 60     what the service adds to a request
    python benchmarks/serving/load.py --soak 600        16 clients, every answer checked

The model has a published size and random weights: speed does not depend on their values. The
shipped settings and those of --opt take turns. Results are added to results/SIZE.json; the page and
the plot beside it are made from it.
"""

from __future__ import annotations

import argparse
import http.client
import json
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

from benchmarks.models import REVIEWS
from benchmarks.serving.clients import Load, send
from benchmarks.serving.report import SHIPPED, write_report
from benchmarks.serving.service import Service, make_model
from convbert.command.flags import int_at_least, make_parser
from convbert.command.provenance import provenance
from convbert.command.start import run_main, start_paddle
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.files import write_json

WARM_S = 5.0
# Requests of a turn of --overhead, and seconds until the threads of the turn before sleep.
TURN, SETTLE_S = 10, 0.3


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--size", default="convbert-base", choices=tuple(PRESETS), help="(%(default)s)")
    add(
        "--opt", nargs="+", default=[], metavar="KEY=VALUE", help="settings beside the shipped ones"
    )
    add("--name", default="other settings", help="name of those of --opt in the result")
    add("--clients", nargs="+", type=int_at_least(1), default=[1, 4, 16, 64])
    add("--seconds", type=float, default=15.0, help="time of each point (%(default)s)")
    add("--overhead", type=float, metavar="SECONDS", help="instead: in process and served in turns")
    add("--soak", type=float, metavar="SECONDS", help="instead: 16 clients, every answer checked")
    add("--output", type=Path, help="JSON file (results/SIZE.json beside this script)")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Measure, add to the result, write the page and the plot."""
    args = parse_args(argv)
    start_paddle()
    import paddle

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        exported, served = make_model(args.size, work / "model")
        if args.soak:
            found = {"soak": soak(args, exported, served, work)}
        elif args.overhead:
            found = {"overhead": overhead(args, exported, served, work)}
        else:
            found = {"points": measure(args, served, work)}
    output = args.output or HERE / "results" / f"{args.size}.json"
    old = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    if "points" in found:
        found["points"] = {**old.get("points", {}), **found["points"]}
    result = {**old, "size": args.size, **provenance(paddle=paddle.__version__), **found}
    write_json(output, result)
    write_report(output)


def measure(args: argparse.Namespace, served: Path, work: Path) -> dict[str, Any]:
    """Return the numbers of each number of clients, by name of the settings."""
    texts = read_texts()
    settings = {SHIPPED: [], **({args.name: args.opt} if args.opt else {})}
    points = {name: {"settings": opts, **when(), "clients": {}} for name, opts in settings.items()}
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(Service(served, work / str(number), opts))
            for number, (name, opts) in enumerate(settings.items())
        }
        for service in services.values():
            Load(service.port, 2, WARM_S, texts).run()  # every shape once
        for clients in args.clients:
            for name, service in services.items():
                found = Load(service.port, clients, args.seconds, texts).run()
                points[name]["clients"][str(clients)] = found
                print(f"{name}, {clients} clients: {json.dumps(found)}", flush=True)
    return points


def overhead(args: argparse.Namespace, exported: Path, served: Path, work: Path) -> dict[str, Any]:
    """Return the milliseconds of one client in process and over HTTP, the same texts in turns."""
    texts = read_texts()
    with Service(served, work / "service", args.opt) as service:
        ways = {"in_process": in_process(exported), "http": over_http(service.port)}
        for way in ways.values():
            for text in texts[: 3 * TURN]:  # every shape
                way(text)
        times: dict[str, list[float]] = {name: [] for name in ways}
        start, number = time.monotonic(), 0
        while time.monotonic() - start < args.overhead:
            part = [texts[(number + place) % len(texts)] for place in range(TURN)]
            number += TURN
            for name, way in ways.items():
                time.sleep(SETTLE_S)
                times[name] += [milliseconds(way, text) for text in part]
    adds = float(np.median(np.subtract(times["http"], times["in_process"])))
    medians = {f"{name}_p50_ms": round(float(np.median(ms)), 1) for name, ms in times.items()}
    return {**when(), "texts": number, **medians, "adds_ms": round(adds, 1)}


def in_process(exported: Path) -> Callable[[str], Any]:
    """Return a function from text to label in this process, as infer.py does it."""
    from convbert.inference.exported import open_exported

    engine, processor = open_exported(str(exported))
    return lambda text: processor.decode(engine.run(*processor.collate(processor.encode([text]))))[
        0
    ]


def over_http(port: int) -> Callable[[str], Any]:
    """Return a function that sends a text to the service, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    return lambda text: send(connection, text)


def milliseconds(way: Callable[[str], Any], text: str) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    way(text)
    return (time.perf_counter() - began) * 1000


def soak(args: argparse.Namespace, exported: Path, served: Path, work: Path) -> dict[str, Any]:
    """Run 16 clients for long, comparing each answer with that in process, watching the memory."""
    texts = read_texts()
    way, memory = in_process(exported), []
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
    """Return date and commit, which each part of a result has for itself."""
    record = provenance()
    return {"date": record["date"], "commit": record["commit"]}


if __name__ == "__main__":
    run_main(main)
