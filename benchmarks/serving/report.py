"""The numbers of a result file as a Markdown page."""

from __future__ import annotations

from typing import Any, Dict, List

COLUMNS = ("configuration", "clients", "answers/s", "p50 ms", "p99 ms", "busy", "busy p99 ms")


def page(results: Dict[str, Any]) -> str:
    """Return the page of one size."""
    machine, points = results["machine"], dict(results["points"])
    lines = [
        f"# {results['size']}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"Paddle {machine['paddle']}; random weights; written by `load.py`.",
        "",
        _row(COLUMNS),
        _row(["---"] * len(COLUMNS)),
    ]
    alone = points.pop("in process", {}).get("1")
    if alone:
        lines.append(_row(["in process, no server", 1, *_speed(alone), "", ""]))
    failed: List[str] = []
    for name, by_clients in points.items():
        for clients, point in by_clients.items():
            share = [point["busy"], point["busy_p99_ms"] if point["busy"] else ""]
            lines.append(_row([name, clients, *_speed(point), *share]))
            failed += [f"{name}, {clients} clients: {point['errors']}"] if point["errors"] else []
    lines += ["", "Errors: " + ("; ".join(failed) if failed else "none.")]
    if alone and "1" in points.get("shipped", {}):
        overhead = points["shipped"]["1"]["p50_ms"] - alone["p50_ms"]
        lines += ["", f"The service adds {overhead:.1f} ms to a request (p50, one client)."]
    if "soak" in results:
        lines += ["", _soak(results["soak"])]
    return "\n".join(lines) + "\n"


def _row(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _speed(point: Dict[str, Any]) -> List[Any]:
    return [point["answers_per_s"], point["p50_ms"], point["p99_ms"]]


def _soak(soak: Dict[str, Any]) -> str:
    memory = soak["memory_mb"]
    early, late = memory[len(memory) // 10], memory[-1]
    grown = "; ".join(
        f"{name} {early[name]:.0f} MB after a tenth of the time, {late[name]:.0f} MB at the end"
        for name in early
    )
    return (
        f"{soak['seconds'] / 60:.0f} minutes at {soak['clients']} clients: "
        f"{soak['answers']} answers, {soak['wrong']} wrong, {soak['busy']} busy, "
        f"errors {soak['errors'] or 'none'}; memory: {grown}."
    )
