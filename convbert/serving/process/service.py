"""One service: the HTTP front end and the supervised pipeline, from start to stop."""

import asyncio
import contextlib
import errno
import logging
import logging.handlers
import os
import signal
import socket
import sys

import uvicorn

from convbert.command.start import EXIT_INTERRUPTED
from convbert.serving.config import LOCAL, Address, Settings
from convbert.serving.http.app import HttpFrontEnd
from convbert.serving.http.connections import BoundedProtocol
from convbert.serving.process.service_dir import LOG_FILE, announce
from convbert.serving.process.supervisor import OUTPUT, STOP_S, Supervisor
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import LINE_FORMAT, BriefFormatter, get_logger

_BACKLOG = 512
HEAD_S = 10  # from connecting, or from the last answer, until the head of the next request


def run_service(settings: Settings, command: list[str], run_dir: str, quiet: bool) -> int:
    """Serve until SIGTERM or SIGINT, or until the pipeline cannot be kept running.

    ``command`` starts only the pipeline; ``--opt`` and settings are added to it. ``run_dir`` is
    locked. The exit status is 0 after SIGTERM, 130 after Ctrl-C, otherwise the supervisor's.

    Raises:
        UserError: one of the ports cannot be used.
    """
    set_up_logging(settings, os.path.join(run_dir, LOG_FILE), quiet)
    with listen(settings.http, "--port") as listener:
        listen(settings.rpc, "--rpc_port").close()  # the pipeline will listen here
        options = settings.engine_options()
        get_logger().info(
            "engine %s, precision %s, device %s", options.engine, options.precision, options.device
        )
        get_logger().info("HTTP on %s, gRPC on %s", settings.http, settings.rpc)
        if not (settings.http.is_loopback and settings.rpc.is_loopback):
            get_logger().warning(
                "reachable from other machines without authentication or TLS: "
                "put a gateway with both in front of it, or use a firewall"
            )
        # If files of the model change, a restarted pipeline still runs what is reported here.
        chosen = [f"{LOCAL}.engine={options.engine}", f"{LOCAL}.precision={options.precision}"]
        return asyncio.run(_serve(settings, [*command, "--opt", *chosen], run_dir, listener))


async def _serve(
    settings: Settings, command: list[str], run_dir: str, listener: socket.socket
) -> int:
    signalled = _signal_future()
    announce(run_dir, settings)
    supervisor = Supervisor(settings, command, run_dir)
    supervising = asyncio.ensure_future(supervisor.run())
    server = uvicorn.Server(
        uvicorn.Config(
            HttpFrontEnd(settings, supervisor).app(),
            http=BoundedProtocol,
            lifespan="off",
            access_log=False,
            log_config=None,
            backlog=_BACKLOG,
            timeout_keep_alive=HEAD_S,
            timeout_graceful_shutdown=STOP_S + 0.5,
        )
    )
    server.capture_signals = contextlib.nullcontext  # `_signal_future` handles signals
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await asyncio.wait([supervising, serving, signalled], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await asyncio.gather(supervisor.stop(), serving)
    interrupted = signalled.done() and signalled.result() == signal.SIGINT
    return await supervising or (EXIT_INTERRUPTED if interrupted else 0)


def _signal_future() -> asyncio.Future[int]:
    """Return a future that the first SIGTERM or SIGINT sets to its number."""
    loop = asyncio.get_running_loop()
    first = loop.create_future()

    def receive(number: int) -> None:
        if not first.done():
            first.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    return first


def listen(address: Address, flag: str) -> socket.socket:
    """Return a listening socket; ``flag`` chooses another port.

    Raises:
        UserError: the port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        hint = f": stop the process that uses it, or choose another with {flag}" if in_use else ""
        reason = error.strerror.partition(" (")[0]
        raise UserError("port", f"cannot listen on {address}: {reason}{hint}") from None
    # Connections inherit this; without it the end of an answer may wait 40 ms for an
    # acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def set_up_logging(settings: Settings, path: str, quiet: bool) -> None:
    """Log to a rotated file, and to standard error unless ``quiet``."""
    size, files = settings["log_file_bytes"], settings["log_files"]
    file = LogFile(path, maxBytes=size, backupCount=files - 1, encoding="utf-8")
    handlers = [file] if quiet else [file, _StandardError()]
    for handler in handlers:
        handler.setFormatter(_Formatter(LINE_FORMAT))
    get_logger().handlers[:] = handlers
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(BriefFormatter):
    """Our line format; lines of the pipeline already have it."""

    def format(self, record: logging.LogRecord) -> str:
        raw = record.name == OUTPUT.name
        return record.getMessage() if raw else super().format(record)


class LogFile(logging.handlers.RotatingFileHandler):
    """A rotated file that is opened again if another program has moved or removed it."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether this line needs a new file; called before each line."""
        if self.stream and not self._is_in_place():
            self.stream.close()
            os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
            self.stream = self._open()
        return super().shouldRollover(record)

    def _is_in_place(self) -> bool:
        with contextlib.suppress(OSError):
            found, own = os.stat(self.baseFilename), os.fstat(self.stream.fileno())
            return os.path.samestat(found, own)
        return False


class _StandardError(logging.StreamHandler):
    """Standard error; if its reader closes it (head, a terminal), only the log file is written."""

    def handleError(self, record: logging.LogRecord) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
