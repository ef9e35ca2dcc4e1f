"""The numbers of a result file of load.py as a Markdown page and as a plot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tables import table, write_result

COLUMNS = {
    "answers_per_s": "answers/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "memory_mb": "memory MB",
    "busy": "busy",
    "busy_p99_ms": "busy p99 ms",
}
REFERENCE = "paddle"


def write_report(path: Path, result: dict[str, Any]) -> None:
    """Write a result, and the page and the plot beside it; print the page."""
    title = f"{result['size']}, random weights, sentences of data/reviews/dev.tsv, load.py"
    points = result.get("points", {})
    rows = [
        [name, clients, *(row.get(key) or "" for key in COLUMNS)]
        for name, point in points.items()
        for clients, row in point["clients"].items()
    ]
    notes = [f"{name}: {' '.join(sentences(name, points))}" for name in points]
    notes += [soak(result["soak"])] if "soak" in result else []
    write_result(path, result, title, table(["side", "clients", *COLUMNS.values()], rows), *notes)
    plot(result, path.with_suffix(".png"))


def sentences(name: str, points: dict[str, Any]) -> Iterator[str]:
    """Yield settings, engine, errors, speed compared with Paddle, and the time added by the
    service."""
    point, reference = points[name], points.get(REFERENCE)
    engine = f", engine {point['engine']} in {point['precision']}" if "engine" in point else ""
    settings = " ".join(point["settings"]) or "as in config.yml"
    yield f"{settings}{engine}; {point['date']}, commit {point['commit']}."
    for clients, row in point["clients"].items():
        if row["errors"]:
            yield f"Errors at {clients} clients: {row['errors']}."
    if name != REFERENCE and reference and reference.get("run") == point.get("run", ""):
        rates = reference["clients"]
        ratios = (
            f"{row['answers_per_s'] / rates[clients]['answers_per_s']:.2f} ({clients} clients)"
            for clients, row in point["clients"].items()
        )
        yield f"Answers/s divided by those of {REFERENCE}: {', '.join(ratios)}."
    if "overhead" in point:
        found = point["overhead"]
        yield (
            f"The service adds {found['adds_ms']} ms to a request of one client: median over "
            f"{found['texts']} texts of the time over HTTP minus the time in process."
        )


def soak(found: dict[str, Any]) -> str:
    """Return the result of the long run, as a sentence."""
    return (
        f"{found['seconds'] / 60:.0f} minutes at 16 clients: {found['answers']} answers, "
        f"{found['wrong']} wrong, {found['busy']} busy, errors {found['errors'] or 'none'}; "
        f"longest time without an answer {found['longest_pause_s']} s; resident memory "
        f"{found['early_mb']:.0f} MB after a tenth of the time, {found['end_mb']:.0f} MB at the "
        f"end; {found['date']}, commit {found['commit']}."
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw throughput and latency against the number of clients."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    speed, latency = figure.subplots(1, 2)
    for name, point in result.get("points", {}).items():
        clients = [int(number) for number in point["clients"]]
        rows = point["clients"].values()
        (line,) = speed.plot(clients, [row["answers_per_s"] for row in rows], "o-", label=name)
        for key, style in (("p50_ms", "o-"), ("p99_ms", "o--")):
            latency.plot(clients, [row[key] for row in rows], style, color=line.get_color())
    for axes in (speed, latency):
        axes.set(xlabel="clients", xscale="log", ylim=(0, None))
        axes.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        axes.minorticks_off()
    speed.set_title("answers per second")
    latency.set_title("milliseconds to an answer: p50, p99 dashed")
    figure.legend(loc="outside lower center", ncol=2, fontsize="small")
    title = f"{result['size']}, {result['cores']} cores, {result['processor']}"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
