"""The routes: predictions through the pipeline, health and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from convbert.serving.config import Settings
from convbert.serving.health import Health, State
from convbert.serving.http.body import parse_body, read_body
from convbert.serving.http.metrics import CONTENT_TYPE, Metrics
from convbert.serving.protocol import HTTP_STATUS, SERVICE_NAME, ErrNo, RequestError, answer
from convbert.serving.rpc import PipelineConnection
from paddlenlp.utils.log import get_logger

PREDICTION_PATH = f"/{SERVICE_NAME}/prediction"
# The front end waits this much longer than the pipeline, so that the pipeline times out first.
_EXTRA_S = 0.5
# Sent if the body was not read to the end, because the server would otherwise continue to read it,
# and when the service stops.
_CLOSE = {"Connection": "close"}


class HttpFrontEnd:
    """Answers HTTP requests through the pipeline.

    Args:
        settings: limits, timeouts, engine and device.
        connection: connection to the pipeline.
        health: the state that the supervisor updates.
        restart: called with a reason when the pipeline no longer answers anything.
    """

    def __init__(
        self,
        settings: Settings,
        connection: PipelineConnection,
        health: Health,
        restart: Callable[[str], None],
    ):
        self._limits = settings.service
        self._options = settings.engine_options()
        self._connection, self._health, self._restart = connection, health, restart
        self._in_flight = 0
        self._started = time.time()
        self._metrics = Metrics(self._engine())

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
            body, status = await self._answer(request)
        except RequestError as error:
            body, status = answer(error.err_no, str(error)), error.status
        except ClientDisconnect:
            return Response(status_code=400)  # nobody receives it
        except Exception:
            get_logger().exception("a request failed")
            body, status = answer(ErrNo.INTERNAL, "internal error, see the server's log"), 500
        self._metrics.count(body["err_no"], time.perf_counter() - start)
        headers = self._headers() if hasattr(request.state, "body_read") else dict(_CLOSE)
        if body["err_no"] == ErrNo.BUSY:
            headers["Retry-After"] = "1"
        return JSONResponse(body, status_code=status, headers=headers)

    async def _answer(self, request: Request) -> tuple[dict[str, Any], int]:
        self._require_room()  # before the body is read, and again below
        limits = self._limits
        body = await read_body(request, limits["max_body_bytes"], limits["request_timeout_s"])
        message = parse_body(body, request.headers)
        self._health.require_ready()
        self._require_room()
        self._in_flight += 1
        try:
            response = await self._call(message)
        finally:
            self._in_flight -= 1
        status = HTTP_STATUS.get(response.err_no, 500)
        return answer(response.err_no, response.err_msg, response.key, response.value), status

    def _headers(self) -> dict[str, str]:
        return dict(_CLOSE) if self._health.state is State.STOPPING else {}

    def _require_room(self) -> None:
        most = self._limits["max_in_flight"]
        if self._in_flight >= most:
            raise RequestError(ErrNo.BUSY, f"{most} requests are being answered: try again")

    async def _call(self, message):
        sent, timeout = time.monotonic(), self._limits["request_timeout_s"]
        try:
            response = await self._connection.predict(message, timeout + _EXTRA_S)
        except RequestError as error:
            if error.err_no is ErrNo.TIMEOUT and self._health.last_answer < sent:
                self._restart(f"it answered nothing for {timeout} s")
            raise
        if response.err_no == ErrNo.OK:
            self._health.answered()
        return response

    async def health(self, request: Request) -> Response:
        """GET /health: 200 if the service can label texts now, else 503."""
        health = self._health
        state, reason = health.shown()
        body = {
            "status": state.value,
            "reason": reason,
            **self._engine(),
            "uptime_s": round(time.time() - self._started, 1),
            "restarts": health.restarts,
            "in_flight": self._in_flight,
            "pipeline_pid": health.pid,
        }
        status = 200 if state is State.READY else 503
        return JSONResponse(body, status_code=status, headers=self._headers())

    def _engine(self) -> dict[str, str]:
        options = self._options
        return {name: getattr(options, name) for name in ("engine", "precision", "device")}

    async def metrics(self, request: Request) -> Response:
        """GET /metrics, in Prometheus' text format."""
        ready = self._health.shown()[0] is State.READY
        text = self._metrics.text(ready, self._health.restarts, self._in_flight)
        return PlainTextResponse(text, media_type=CONTENT_TYPE, headers=self._headers())


async def _no_route(request: Request, error: HTTPException) -> Response:
    path = f"no such service: POST {PREDICTION_PATH}, GET /health or GET /metrics"
    headers = {**(error.headers or {}), **_CLOSE}
    return JSONResponse(answer(ErrNo.NO_SERVICE, path), error.status_code, headers)
