"""One service: the HTTP front and the supervised pipeline, from start to an orderly stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import time

import uvicorn

from convbert.command.start import EXIT_INTERRUPTED
from convbert.serving.backend import Backend
from convbert.serving.connections import BoundedProtocol
from convbert.serving.front import Front
from convbert.serving.run_dir import RunDir
from convbert.serving.runtime import host_port, pipeline_environment
from convbert.serving.settings import Settings
from convbert.serving.supervisor import Supervisor
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import LINE_FORMAT, get_logger

# Seconds after SIGTERM: until then answers to HTTP requests in flight are finished, and until then
# the pipeline ends, calls over gRPC first; what is left of the promised five is for killing it.
DRAIN_S, STOP_S = 3.0, 4.3
_BACKLOG = 512


class Service:
    """Runs until SIGTERM or SIGINT, or until the pipeline cannot be kept running.

    Args:
        settings: the validated configuration.
        command: starts the pipeline alone.
        run_dir: the service's own folder.
        quiet: log to the file only, not to standard error too.
    """

    def __init__(self, settings: Settings, command: list[str], run_dir: RunDir, quiet: bool):
        self._settings, self._command, self._run_dir = settings, command, run_dir
        self._signal, self._stopping_since = 0, 0.0
        service = settings.service
        self._log = run_dir.open_log(service["log_file_bytes"], service["log_files"])
        self._echo = not quiet
        self._redirect_logging()

    def run(self) -> int:
        """Serve; return the exit status: 0 after SIGTERM, 130 after Ctrl-C."""
        listener = listen(self._settings.host, self._settings.http_port, "--port")
        with listener:
            # The pipeline will listen here.
            listen(self._settings.rpc_host, self._settings.rpc_port, "--rpc_port").close()
            # Uvicorn takes these over while it serves and raises them again when it is done.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note_signal)
            status = asyncio.run(self._serve(listener))
        return EXIT_INTERRUPTED if self._signal == signal.SIGINT and status == 0 else status

    async def _serve(self, listener: socket.socket) -> int:
        settings = self._settings
        service = settings.service
        backend = Backend(settings.rpc_address, service["max_body_bytes"])
        threads = settings.op["local_service_conf"]["thread_num"]
        supervisor = Supervisor(
            self._command,
            pipeline_environment(self._run_dir.path, threads),
            self._run_dir.path,
            backend,
            service["start_timeout_s"],
            self._write,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                Front(settings, backend, supervisor).app(),
                http=BoundedProtocol,
                lifespan="off",
                access_log=False,
                log_config=None,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=DRAIN_S + 1,
            )
        )
        self._run_dir.announce(settings.host, settings.http_port, settings.rpc_port)
        self._greet()
        keeping = asyncio.ensure_future(supervisor.run())
        keeping.add_done_callback(lambda _: setattr(server, "should_exit", True))
        draining = asyncio.ensure_future(self._limit_draining(server, supervisor))
        try:
            await server.serve(sockets=[listener])
        finally:
            draining.cancel()
            spent = time.monotonic() - self._stopping_since if self._stopping_since else 0.0
            await supervisor.stop(max(0.5, STOP_S - spent))
            await backend.close()
        return await keeping

    async def _limit_draining(self, server: uvicorn.Server, supervisor: Supervisor) -> None:
        """After a signal let calls finish for a while, then fail those that are left."""
        while not (server.should_exit or self._signal):
            await asyncio.sleep(0.05)
        server.should_exit = True  # a signal before uvicorn listened for it
        self._stopping_since = time.monotonic()
        await asyncio.sleep(DRAIN_S)
        supervisor.kill()

    def _greet(self) -> None:
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

    def _note_signal(self, number: int, frame) -> None:
        self._signal = number

    def _write(self, line: str) -> None:
        self._log.info(line)
        if self._echo:
            try:
                print(line, file=sys.stderr, flush=True)
            except OSError:  # who read it went away (head, a closed terminal); the log goes on
                self._echo = False
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def _redirect_logging(self) -> None:
        """Send this process's own log lines where the pipeline's go."""
        handler = _Writer(self._write)
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        get_logger().handlers[:] = [handler]
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).setLevel(logging.WARNING)


class _Writer(logging.Handler):
    def __init__(self, write):
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


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
        mend = f"; stop who holds it, or choose another with {flag}" if in_use else ""
        raise UserError(
            "port", f"cannot listen on {host_port(host, port)}: {reason}{mend}"
        ) from None
    return listener
