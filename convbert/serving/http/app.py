"""The routes: predictions through the pipeline, health and metrics."""

import time
from typing import TYPE_CHECKING, Any

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
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from convbert.serving.config import Settings
from convbert.serving.http.body import parse_body, read_body
from convbert.serving.protocol import (
    HTTP_STATUS,
    SERVICE_NAME,
    ErrNo,
    RequestError,
    State,
    answer,
)
from paddlenlp.utils.log import get_logger

if TYPE_CHECKING:
    from convbert.serving.process.supervisor import Supervisor

PREDICTION_PATH = f"/{SERVICE_NAME}/prediction"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Sent if the body was not read to the end, because the server would otherwise continue to read it,
# and when the service stops.
_CLOSE = {"Connection": "close"}


class HttpFrontEnd:
    """Answers HTTP requests through the pipeline."""

    def __init__(self, settings: Settings, supervisor: "Supervisor"):
        self._settings, self._supervisor = settings, supervisor
        options = settings.engine_options()
        names = ("engine", "precision", "device")
        self._engine_facts = {name: getattr(options, name) for name in names}
        self._in_flight = 0
        self._started = time.time()
        self._registry = CollectorRegistry()
        self._add_metrics()

    def _add_metrics(self) -> None:
        to = {"registry": self._registry}
        ProcessCollector(**to)
        engine = Info("convbert_engine", "Engine, precision and device in use", **to)
        engine.info(self._engine_facts)
        self._requests = Counter(
            "convbert_requests", "Prediction requests by err_no of the answer", ["err_no"], **to
        )
        self._seconds = Histogram(
            "convbert_request_seconds", "Seconds to an answer", buckets=_SECONDS, **to
        )
        in_flight = Gauge("convbert_in_flight", "Requests being answered", **to)
        in_flight.set_function(lambda: self._in_flight)
        ready = Gauge("convbert_ready", "1 if the service can label texts now", **to)
        ready.set_function(lambda: self._supervisor.state()[0] is State.READY)
        restarts = Gauge("convbert_pipeline_restarts", "Restarts of the pipeline", **to)
        restarts.set_function(lambda: self._supervisor.restarts)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route(PREDICTION_PATH, self.predict, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
        app.router.redirect_slashes = False  # a wrong path gets 404, not a redirect
        return app

    async def predict(self, request: Request) -> Response:
        """POST /convbert/prediction."""
        start = time.perf_counter()
        try:
            body = await self._answer(request)
            status = HTTP_STATUS.get(body["err_no"], 500)
        except RequestError as error:
            body, status = answer(error.err_no, str(error)), error.status
        except ClientDisconnect:
            return Response(status_code=400)  # nobody receives it
        except Exception:
            get_logger().exception("a request failed")
            body, status = answer(ErrNo.INTERNAL, "internal error, see the server's log"), 500
        self._requests.labels(str(body["err_no"])).inc()
        self._seconds.observe(time.perf_counter() - start)
        headers = self._closing_headers() if hasattr(request.state, "body_read") else dict(_CLOSE)
        if body["err_no"] == ErrNo.BUSY:
            headers["Retry-After"] = "1"
        return JSONResponse(body, status_code=status, headers=headers)

    async def _answer(self, request: Request) -> dict[str, Any]:
        self._require_room()  # and again below: others may arrive while the body is read
        settings = self._settings
        body = await read_body(request, settings["max_body_bytes"], settings["request_timeout_s"])
        message = parse_body(body, request.headers)
        self._supervisor.require_ready()
        self._require_room()
        self._in_flight += 1
        try:
            response = await self._supervisor.predict(message)
        finally:
            self._in_flight -= 1
        return answer(response.err_no, response.err_msg, response.key, response.value)

    def _require_room(self) -> None:
        most = self._settings["max_in_flight"]
        if self._in_flight >= most:
            raise RequestError(f"{most} requests are being answered: try again", ErrNo.BUSY)

    def _closing_headers(self) -> dict[str, str]:
        return dict(_CLOSE) if self._supervisor.state()[0] is State.STOPPING else {}

    async def health(self, request: Request) -> Response:
        """GET /health: 200 if the service can label texts now, else 503."""
        state, reason = self._supervisor.state()
        body = {
            "status": state,
            "reason": reason,
            **self._engine_facts,
            "uptime_s": round(time.time() - self._started, 1),
            "restarts": self._supervisor.restarts,
            "in_flight": self._in_flight,
            "pipeline_pid": self._supervisor.pid,
        }
        status = 200 if state is State.READY else 503
        return JSONResponse(body, status_code=status, headers=self._closing_headers())

    async def metrics(self, request: Request) -> Response:
        """GET /metrics, in Prometheus' text format."""
        text = generate_latest(self._registry)
        return PlainTextResponse(
            text, media_type=CONTENT_TYPE_LATEST, headers=self._closing_headers()
        )


async def _no_route(request: Request, error: HTTPException) -> Response:
    paths = ", ".join(route.path for route in request.app.routes)
    headers = {**(error.headers or {}), **_CLOSE}
    body = answer(ErrNo.NO_SERVICE, f"no such service: POST {PREDICTION_PATH}, or one of {paths}")
    return JSONResponse(body, error.status_code, headers)
