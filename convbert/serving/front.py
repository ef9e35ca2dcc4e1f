"""The HTTP front: path, body and answer of Paddle Serving's gateway, with bounds and a health page.

It stands in place of the Go gateway, which listens on every address and has no limits, no
time-out, no health route, and a Go release without security fixes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from convbert.serving.backend import Backend
from convbert.serving.metrics import CONTENT_TYPE, Metrics
from convbert.serving.requests import (
    HTTP_STATUS,
    ErrNo,
    RequestError,
    answer,
    bad_request,
    parse_body,
    texts_of,
)
from convbert.serving.settings import SERVICE_NAME, Settings
from convbert.serving.supervisor import State, Supervisor
from paddlenlp.utils.log import get_logger

PREDICTION_PATH = f"/{SERVICE_NAME}/prediction"
# Calls get their answer or their time-out from the pipeline first, then from here.
_EXTRA_S = 0.5
# A body of up to this many times the limit is read to its end and then refused.
_DRAINED = 4
# With an answer to a body that was not read: else the rest of it, however long, is read after all.
_CLOSE = {"Connection": "close"}


class Front:
    """Answers HTTP requests through the pipeline."""

    def __init__(self, settings: Settings, backend: Backend, supervisor: Supervisor):
        self._limits = settings.limits
        self._max_in_flight = settings.service["max_in_flight"]
        self._timeout = settings.service["request_timeout_s"]
        self._device = settings.engine_options().device
        self._backend = backend
        self._supervisor = supervisor
        self._in_flight = 0
        self._last_answer = time.monotonic()
        self._started = time.time()
        self.metrics = Metrics()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route(PREDICTION_PATH, self.predict, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
        app.router.redirect_slashes = False  # a wrong path gets an answer, no redirection
        return app

    async def predict(self, request: Request) -> Response:
        """POST /convbert/prediction."""
        start = time.perf_counter()
        try:
            body, status = await self._answer(request)
        except RequestError as error:
            body, status = answer(error.err_no, str(error)), error.status
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            get_logger().exception("a request failed")
            body, status = answer(ErrNo.INTERNAL, "internal error, see the server's log"), 500
        self.metrics.count(body["err_no"], time.perf_counter() - start)
        headers = {} if hasattr(request.state, "body_read") else dict(_CLOSE)
        if body["err_no"] == ErrNo.BUSY:
            headers["Retry-After"] = "1"
        return JSONResponse(body, status_code=status, headers=headers)

    async def _answer(self, request: Request) -> tuple[dict[str, Any], int]:
        self._require_room()  # before the body is read, and again after it
        fields = parse_body(await self._read_body(request))
        texts_of(fields.keys, fields.values, self._limits)
        self._supervisor.require_ready()
        self._require_room()
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            response = await self._call(fields)
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)
        status = HTTP_STATUS.get(response.err_no, 500)
        return answer(response.err_no, response.err_msg, response.key, response.value), status

    def _require_room(self) -> None:
        if self._in_flight >= self._max_in_flight:
            message = f"{self._max_in_flight} requests are being answered: try again"
            raise RequestError(ErrNo.BUSY, message)

    async def _call(self, fields):
        sent = time.monotonic()
        try:
            response = await self._backend.predict(fields, self._timeout + _EXTRA_S)
        except RequestError as error:
            if error.err_no is ErrNo.TIMEOUT and self._last_answer < sent:
                self._supervisor.restart(f"no answer at all in {self._timeout} s")
            raise
        self._last_answer = time.monotonic()
        return response

    async def _read_body(self, request: Request) -> bytes:
        try:
            return await asyncio.wait_for(self._collect(request), self._timeout)
        except asyncio.TimeoutError:
            raise RequestError(ErrNo.TIMEOUT, "the body did not arrive in time", 408) from None

    async def _collect(self, request: Request) -> bytes:
        """Return the body; one that is somewhat too large is read to its end, or the client would
        find the connection broken instead of an answer."""
        most = self._limits.max_body_bytes
        too_large = bad_request(f"the body has more than {most} bytes: send fewer texts", 413)
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > _DRAINED * most:
            raise too_large
        body, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _DRAINED * most:
                raise too_large
            if size <= most:
                body += chunk
        request.state.body_read = True
        if size > most:
            raise too_large
        return bytes(body)

    async def health(self, request: Request) -> Response:
        """GET /health: 200 when a text would be labelled now, else 503."""
        ready = self._supervisor.state is State.READY
        body = {
            "status": self._supervisor.state.value,
            "reason": self._supervisor.reason,
            "device": self._device,
            "uptime_s": round(time.time() - self._started, 1),
            "restarts": self._supervisor.restarts,
            "in_flight": self._in_flight,
            "pipeline_pid": self._supervisor.pid,
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    async def show_metrics(self, request: Request) -> Response:
        """GET /metrics, in Prometheus' text format."""
        self.metrics.update(self._supervisor.state is State.READY, self._supervisor.restarts)
        return PlainTextResponse(self.metrics.text(), media_type=CONTENT_TYPE)


async def _no_route(request: Request, error: HTTPException) -> Response:
    path = f"no such service: POST {PREDICTION_PATH}, GET /health or GET /metrics"
    headers = {**(error.headers or {}), **_CLOSE}
    return JSONResponse(answer(ErrNo.NO_SERVICE, path), error.status_code, headers)
