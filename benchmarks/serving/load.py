"""Measure the service under load on loopback and write the numbers as JSON and Markdown.

    python benchmarks/serving/load.py --size convbert-base --configs shipped plain

The models have the published sizes and random weights: speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import load_tools
import numpy as np
from report import page

from convbert.cli import default_threads, make_parser, run_main, set_cpu_environment
from paddlenlp.utils.files import atomic_write

OP, LOCAL = "op.convbert", "op.convbert.local_service_conf"


def _workers(count: int, threads: int, batch: int, thread_op: bool = True):
    return (
        f"dag.is_thread_op={str(thread_op).lower()}",
        f"{OP}.concurrency={count}",
        f"{OP}.batch_size={batch}",
        f"{LOCAL}.thread_num={threads}",
    )


# Name -> settings that differ from the shipped config.yml.
CONFIGS = {
    "shipped": (),
    "1 worker x 2 threads, no batching": _workers(1, 2, 1),
    "1 worker x 2 threads, batches of 4": _workers(1, 2, 4),
    "1 worker x 2 threads, batches of 8": _workers(1, 2, 8),
    "1 worker x 2 threads, batches of 16": _workers(1, 2, 16),
    "2 workers x 1 thread, no batching": _workers(2, 1, 1),
    "2 workers x 1 thread, batches of 8": _workers(2, 1, 8),
    "1 process x 2 threads, batches of 8": _workers(1, 2, 8, thread_op=False),
    "2 processes x 1 thread, batches of 8": _workers(2, 1, 8, thread_op=False),
    "1 worker x 2 threads, batches of 8, no oneDNN": (
        *_workers(1, 2, 8),
        f"{LOCAL}.use_mkldnn=false",
    ),
    "1 worker x 2 threads, batches of 8, lengths padded to 8": (
        *_workers(1, 2, 8),
        "service.pad_multiple=8",
    ),
    "1 worker x 2 threads, batches of 8, lengths padded to 32": (
        *_workers(1, 2, 8),
        "service.pad_multiple=32",
    ),
    "oneDNN keeps 4 shapes": (f"{LOCAL}.mkldnn_cache_capacity=4",),
}
PLAIN = "plain"


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", default="convbert-base", help="published size (%(default)s)")
    add("--cache", default=str(Path(tempfile.gettempdir()) / "convbert-serving-models"))
    add("--configs", nargs="+", default=["shipped", PLAIN], choices=[*CONFIGS, PLAIN])
    add("--clients", nargs="+", type=int, default=[1, 4, 16, 64])
    add("--seconds", type=float, default=15.0, help="time of each point (%(default)s)")
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


def in_process(model: Path, texts, seconds: float) -> dict:
    """Time text to label in this process, as infer.py does, one text at a time."""
    processor, predictor = open_model(model)
    for text in texts:  # every shape once
        label(processor, predictor, text)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        label(processor, predictor, texts[len(times) % len(texts)])
        times.append(time.perf_counter() - began)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {
        "answers_per_s": round(1 / np.mean(times), 2),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
    }


def open_model(model: Path):
    """Return the text processor and the predictor with the shipped settings."""
    from convbert.predictor import EngineOptions, Predictor
    from convbert.processing import TextProcessor

    processor = TextProcessor.from_dir(str(model), max_seq_len=128, pad_multiple=16)
    options = EngineOptions(cpu_threads=default_threads(), mkldnn_cache_capacity=12)
    return processor, Predictor(str(model), options)


def label(processor, predictor, text: str):
    """Return the Prediction of one text."""
    return processor.decode(predictor.run(*processor.collate(processor.encode([text]))))[0]


def measure(args: argparse.Namespace, model: Path, folder: Path) -> dict:
    """Return the points of every configuration asked for."""
    texts = load_tools.read_texts()
    found = {"in process": {"1": in_process(model, texts, args.seconds)}}
    for name in args.configs:
        with open_service(name, model, folder / str(len(found))) as service:
            load_tools.Load(service.port, 2, 5.0, texts).run()  # every shape once
            found[name] = {}
            for clients in args.clients:
                result = load_tools.Load(service.port, clients, args.seconds, texts).run()
                found[name][str(clients)] = result
                print(f"{args.size}, {name}, {clients} clients: {json.dumps(result)}", flush=True)
    return {"points": found}


def soak(args: argparse.Namespace, model: Path, folder: Path) -> dict:
    """Run 16 clients for long, comparing each answer with infer.py's way, watching the memory."""
    texts = load_tools.read_texts()
    processor, predictor = open_model(model)
    answers = {text: label(processor, predictor, text) for text in texts}
    expected = {text: (answer.label_id, answer.prob) for text, answer in answers.items()}
    del predictor
    memory = []
    with open_service("shipped", model, folder) as service:
        load = load_tools.Load(service.port, 16, args.soak, texts, expected)
        result = load.run(every=args.soak / 60, watch=lambda: memory.append(service.memory_mb()))
    result = {"seconds": args.soak, "clients": 16, **result, "memory_mb": memory}
    print(json.dumps({**result, "memory_mb": [memory[0], memory[5], memory[-1]]}))
    return {"soak": result}


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


def main(argv=None) -> None:
    """Measure and write."""
    args = parse_args(argv)
    set_cpu_environment()
    output = Path(args.output or Path(__file__).parent / "results" / f"{args.size}.json")
    model = load_tools.make_model(args.size, Path(args.cache))
    with tempfile.TemporaryDirectory() as folder:
        found = (soak if args.soak else measure)(args, model, Path(folder))
    kept = json.loads(output.read_text()) if output.is_file() else {}
    points = {**kept.get("points", {}), **found.pop("points", {})}
    results = {**kept, **found, "size": args.size, "machine": machine(), "points": points}
    with atomic_write(output) as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with atomic_write(output.with_suffix(".md")) as file:
        file.write(page(results))


if __name__ == "__main__":
    run_main(main)
