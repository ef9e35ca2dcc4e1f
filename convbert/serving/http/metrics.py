"""Counters of the HTTP front end for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters, in a separate registry.

    Args:
        engine: engine, precision and device, shown as labels.
    """

    def __init__(self, engine: dict[str, str]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        to = {"registry": self._registry}
        Info("convbert_engine", "Engine, precision and device in use", **to).info(engine)
        self._requests = Counter(
            "convbert_requests", "Prediction requests by err_no of the answer", ["err_no"], **to
        )
        self._seconds = Histogram(
            "convbert_request_seconds", "Seconds to an answer", buckets=_SECONDS, **to
        )
        self._in_flight = Gauge("convbert_in_flight", "Requests being answered", **to)
        self._ready = Gauge("convbert_ready", "1 if the service can label texts now", **to)
        self._restarts = Gauge("convbert_pipeline_restarts", "Restarts of the pipeline", **to)

    def count(self, err_no: int, seconds: float) -> None:
        """Count one finished request."""
        self._requests.labels(str(err_no)).inc()
        self._seconds.observe(seconds)

    def text(self, ready: bool, restarts: int, in_flight: int) -> bytes:
        """Return all metrics, with the given state, in Prometheus' text format."""
        self._ready.set(ready)
        self._restarts.set(restarts)
        self._in_flight.set(in_flight)
        return generate_latest(self._registry)
