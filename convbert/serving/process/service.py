"""One service: the HTTP front end and the supervised pipeline, from start to an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time

import uvicorn

from convbert.command.start import EXIT_INTERRUPTED
from convbert.serving.config import Settings, host_port, reached_at
from convbert.serving.health import Health
from convbert.serving.http.app import HttpFrontEnd
from convbert.serving.http.connections import BoundedProtocol
from convbert.serving.process.state import RunDir
from convbert.serving.process.supervisor import OUTPUT, Supervisor
from convbert.serving.rpc import PipelineConnection
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import LINE_FORMAT, get_logger

# Seconds after SIGTERM: HTTP requests in flight are finished until the first, calls over gRPC until
# the second; what is left of the five seconds is for killing the pipeline.
DRAIN_S, STOP_S = 3.0, 4.3
_BACKLOG = 512


class Service:
    """Runs until SIGTERM or SIGINT, or until the pipeline cannot be kept running.

    Args:
        settings: the checked configuration.
        command: starts the pipeline alone.
        run_dir: the service's own folder.
        quiet: log to the file only, not to standard error too.
    """

    def __init__(self, settings: Settings, command: list[str], run_dir: RunDir, quiet: bool):
        self._settings, self._command, self._run_dir = settings, command, run_dir
        self._signal = 0
        set_up_logging(settings, run_dir, quiet)

    def run(self) -> int:
        """Serve; return the exit status: 0 after SIGTERM, 130 after Ctrl-C."""
        settings = self._settings
        with listen(settings.host, settings.http_port, "--port") as listener:
            # The pipeline will listen here.
            listen(settings.rpc_host, settings.rpc_port, "--rpc_port").close()
            status = asyncio.run(self._serve(listener))
        return EXIT_INTERRUPTED if self._signal == signal.SIGINT and status == 0 else status

    async def _serve(self, listener: socket.socket) -> int:
        settings = self._settings
        signalled = self._signal_event()
        health = Health()
        connection = PipelineConnection(
            reached_at(settings.rpc_host, settings.rpc_port), settings.service["max_body_bytes"]
        )
        supervisor = Supervisor(
            self._command,
            self._run_dir.pipeline_environment(settings.local["thread_num"]),
            self._run_dir.path,
            connection,
            settings.service["start_timeout_s"],
            health,
        )
        app = HttpFrontEnd(settings, connection, health, supervisor.restart).app()
        self._run_dir.announce(settings)
        self._log_addresses()
        keeping = asyncio.ensure_future(supervisor.run())
        server = _Server(_server_config(app))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        stopping = asyncio.ensure_future(signalled.wait())
        await asyncio.wait([keeping, serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stop_by = time.monotonic() + STOP_S
        stopping.cancel()
        server.should_exit = True
        await asyncio.wait([serving], timeout=DRAIN_S)
        if not serving.done():
            supervisor.kill()
        await asyncio.wait([serving])
        await supervisor.stop(max(0.5, stop_by - time.monotonic()))
        await connection.close()
        serving.result()
        return await keeping

    def _signal_event(self) -> asyncio.Event:
        """Return an event that SIGTERM or SIGINT sets."""
        event = asyncio.Event()

        def note(number: int) -> None:
            self._signal = number
            event.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, note, number)
        return event

    def _log_addresses(self) -> None:
        settings = self._settings
        get_logger().info(
            "HTTP on %s, gRPC on %s",
            host_port(settings.host, settings.http_port),
            host_port(settings.rpc_host, settings.rpc_port),
        )
        if not settings.loopback_only:
            get_logger().warning(
                "reachable from other machines without password or encryption: "
                "put a proxy with both in front, or a firewall"
            )


class _Server(uvicorn.Server):
    """Uvicorn, which leaves signals to `Service`."""

    def capture_signals(self):
        """Install no handlers."""
        return contextlib.nullcontext()


def _server_config(app) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        lifespan="off",
        access_log=False,
        log_config=None,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=DRAIN_S + 1,
    )


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Return a listening socket; ``flag`` chooses another port.

    Raises:
        UserError: the port is in use or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio sets TCP_NODELAY; without, each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        in_use = getattr(error, "errno", None) == errno.EADDRINUSE
        hint = f"; stop the process that uses it, or choose another with {flag}" if in_use else ""
        raise UserError(
            "port", f"cannot listen on {host_port(host, port)}: {reason}{hint}"
        ) from None
    return listener


def set_up_logging(settings: Settings, run_dir: RunDir, quiet: bool) -> None:
    """Log to a rotated file in the run folder, and to standard error unless ``quiet``."""
    size, files = settings.service["log_file_bytes"], settings.service["log_files"]
    file = logging.handlers.RotatingFileHandler(
        run_dir.log_file, maxBytes=size, backupCount=files - 1
    )
    handlers = [file] if quiet else [file, _StandardError()]
    for handler in handlers:
        handler.setFormatter(_Formatter(LINE_FORMAT))
    get_logger().handlers[:] = handlers
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """Our line format; lines of the pipeline stay as they are."""

    def format(self, record: logging.LogRecord) -> str:
        raw = record.name == OUTPUT.name
        return record.getMessage() if raw else super().format(record)


class _StandardError(logging.StreamHandler):
    """Standard error until its reader goes away (head, a closed terminal); the log file goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
