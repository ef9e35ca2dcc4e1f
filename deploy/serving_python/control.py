"""Start, stop or restart the service in the background, or report its state.

Example:
    python deploy/serving_python/control.py start --port 18080

``start`` and ``restart`` take the flags of web_service.py and return when the service is ready.
Exit status of ``status``: 0 ready, 1 not ready, 3 not running.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from convbert.serving.process.service_dir import CONSOLE_FILE, LOG_FILE, Running, find_running
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir

HERE = Path(__file__).resolve().parent
EXIT_READY, EXIT_NOT_READY, EXIT_NOT_RUNNING = 0, 1, 3
# The service stops within five seconds; if it does not, it is killed after this time.
STOP_WAIT_S = 6.0
_POLL_S = 0.1


def main(argv=None) -> int:
    """Run one command."""
    parser = make_parser(__doc__, heading="service")
    parser.add_argument("command", choices=("start", "stop", "restart", "status"))
    parser.add_argument("--run_dir", default=str(HERE / "run"), help="folder for logs and state")
    args, flags = parser.parse_known_args(argv)
    if flags and args.command in ("stop", "status"):
        parser.error(f"{args.command} does not take {flags[0]}")
    if args.command == "status":
        return status(args.run_dir)
    if args.command == "stop":
        return stop(args.run_dir)
    if args.command == "restart":
        stop(args.run_dir)
    return start(flags, args.run_dir)


def start(flags: list[str], run_dir: str) -> int:
    """Start web_service.py in a new session and wait until it is ready or has exited."""
    running = find_running(run_dir)
    if running:
        raise UserError(
            "busy", f"already running, pid {running.pid}: stop it, or give another --run_dir"
        )
    console = os.path.join(run_dir, CONSOLE_FILE)
    ensure_writable_dir(os.path.dirname(console))
    began = time.monotonic()
    with open(console, "w") as file:
        process = subprocess.Popen(
            [sys.executable, HERE / "web_service.py", *flags, "--run_dir", run_dir, "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None:  # it has its own start timeout
            running = find_running(run_dir)
            if running and running.pid == process.pid and is_ready(health(running)):
                seconds = time.monotonic() - began
                print(
                    f"ready: http://{running.address}/convbert/prediction, gRPC port "
                    f"{running.rpc_port}, pid {running.pid}, after {seconds:.1f} s; log "
                    f"{os.path.join(run_dir, LOG_FILE)}"
                )
                return EXIT_READY
            time.sleep(_POLL_S)
    except BaseException:  # Ctrl-C while waiting
        process.terminate()
        raise
    sys.stderr.write(Path(console).read_text(encoding="utf-8", errors="replace"))
    if process.returncode == 0:
        print("stopped before it was ready", file=sys.stderr)
    return process.returncode or EXIT_NOT_READY


def stop(run_dir: str) -> int:
    """Stop the service of a run folder and all its processes."""
    running = find_running(run_dir)
    if not running:
        print("not running")
        return 0
    began = time.monotonic()
    with contextlib.suppress(psutil.NoSuchProcess):  # it may exit meanwhile
        psutil.Process(running.pid).terminate()
    while process := running.process():
        if time.monotonic() - began > STOP_WAIT_S:
            process.kill()  # the pipeline then exits too
            print(f"killed pid {running.pid}, which did not stop within {STOP_WAIT_S:.0f} s")
            return EXIT_NOT_READY
        time.sleep(_POLL_S)
    print(f"stopped pid {running.pid} in {time.monotonic() - began:.1f} s")
    return 0


def status(run_dir: str) -> int:
    """Print the service's state in one line; return 0 if ready, 1 if not, 3 if not running."""
    running = find_running(run_dir)
    if running is None:
        print("not running")
        return EXIT_NOT_RUNNING
    where = f"pid {running.pid}, http://{running.address}, gRPC port {running.rpc_port}"
    state = health(running)
    if state is None:
        print(f"not ready: {where}, does not answer; it may be stopping")
        return EXIT_NOT_READY
    times = f"up {state['uptime_s']} s, {state['restarts']} restarts"
    print(f"{state['status']}: {where}, {times}, {state['reason']}")
    return EXIT_READY if is_ready(state) else EXIT_NOT_READY


def health(running: Running) -> dict | None:
    """Return the answer of GET /health, or None if there is none."""
    connection = http.client.HTTPConnection(running.address, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return json.load(connection.getresponse())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_ready(state: dict | None) -> bool:
    """Whether an answer of GET /health says that texts can be labelled."""
    return state is not None and state["status"] == "ready"


if __name__ == "__main__":
    run_main(main)
