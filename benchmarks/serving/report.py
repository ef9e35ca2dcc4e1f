"""The numbers of a result file as a Markdown page and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLUMNS = ("configuration", "clients", "answers/s", "p50 ms", "p99 ms", "busy", "busy p99 ms")
# Points of one client, taken in turns: text to label as infer.py does it, calls to the pipeline
# itself, and calls to the service.
ALONE, NO_FRONT = "in process, no server", "shipped, gRPC without the front"
TURNS = "shipped, in turns with these two"
# The configurations of the plot and their colours.
PLOTTED = {"shipped": "tab:blue", "plain": "tab:red"}


def page(results: dict[str, Any]) -> str:
    """Return the page of one size."""
    machine, points = results["machine"], results["points"]
    lines = [
        f"# {results['size']}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"Paddle {machine['paddle']}; random weights; written by `load.py`. `others`: share of the "
        "machine that other programs took.",
        "",
        f"Measured {_measured(results['measured'])}.",
        "",
        _row([*COLUMNS, "others"]),
        _row(["---"] * (len(COLUMNS) + 1)),
    ]
    failed: list[str] = []
    for name, by_clients in points.items():
        for clients, point in by_clients.items():
            busy = [point.get("busy", ""), point["busy_p99_ms"] if point.get("busy") else ""]
            lines.append(_row([name, clients, *_speed(point), *busy, _percent(point["others"])]))
            errors = point.get("errors")
            failed += [f"{name}, {clients} clients: {errors}"] if errors else []
    lines += ["", "Errors: " + ("; ".join(failed) if failed else "none.")]
    lines += _overhead(points)
    if "soak" in results:
        lines += ["", _soak(results["soak"])]
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw throughput and latency against the number of clients."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    speed, latency = figure.subplots(1, 2)
    for name, colour in PLOTTED.items():
        points = results["points"].get(name, {})
        clients = [int(number) for number in points]
        for axes, key, style in (
            (speed, "answers_per_s", "o-"),
            (latency, "p50_ms", "o-"),
            (latency, "p99_ms", "o--"),
        ):
            label = name if key == "answers_per_s" else f"{name}, {key[:3]}"
            values = [point[key] for point in points.values()]
            axes.plot(clients, values, style, color=colour, label=label)
    alone = results["points"].get(ALONE, {}).get("1")
    if alone:
        style = {"linestyle": ":", "color": "black", "label": ALONE}
        speed.axhline(alone["answers_per_s"], **style)
        latency.axhline(alone["p50_ms"], **style)
    machine = results["machine"]
    figure.suptitle(f"{results['size']}, {machine['cores']} cores, {machine['cpu']}", fontsize=10)
    for axes, title in ((speed, "answers per second"), (latency, "milliseconds to an answer")):
        axes.set(title=title, xlabel="clients", xscale="log", ylim=(0, None))
        axes.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        axes.minorticks_off()
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _measured(measured: dict[str, dict[str, str]]) -> str:
    """Say when and at which commit, naming the configurations where they differ."""
    groups: dict[str, list[str]] = {}
    for name, when in measured.items():
        groups.setdefault(f"{when['date']} at commit {when['commit']}", []).append(name)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{when}: {', '.join(names)}" for when, names in groups.items())


def _overhead(points: dict[str, Any]) -> list[str]:
    if TURNS not in points:
        return []
    rpc, http = (points[name]["1"]["adds_ms"] for name in (NO_FRONT, TURNS))
    return [
        "",
        f"The service adds {http:.1f} ms to a request of one client (median over "
        f"{points[TURNS]['1']['answers']} texts of HTTP less in process, in turns); the pipeline "
        f"without the front {rpc:.1f} ms.",
    ]


def _row(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _speed(point: dict[str, Any]) -> list[Any]:
    return [point["answers_per_s"], point["p50_ms"], point["p99_ms"]]


def _soak(soak: dict[str, Any]) -> str:
    memory = soak["memory_mb"]
    early, late = memory[len(memory) // 10], memory[-1]
    grown = "; ".join(
        f"{name} {early[name]:.0f} MB after a tenth of the time, {late[name]:.0f} MB at the end"
        for name in early
    )
    return (
        f"{soak['seconds'] / 60:.0f} minutes at {soak['clients']} clients, {soak['date']}, commit "
        f"{soak['commit']}: {soak['answers']} answers, {soak['wrong']} wrong, {soak['busy']} busy, "
        f"errors {soak['errors'] or 'none'}; longest time without an answer "
        f"{soak['longest_pause_s']} s; memory: {grown}."
    )
