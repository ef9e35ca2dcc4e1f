"""The entry point of the TIPC scripts in this folder: one command per script.

    bash test_tipc/test_serving.sh CONFIG

TIPC_OUTPUT         folder of the run folders (test_tipc/output)
TIPC_STEP_SECONDS   time limit of a step (21600)
TIPC_READY_SECONDS  time limit for a server to become ready (120)
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import ensure_writable_dir
from tipc import prepare
from tipc.benchmark import plan_benchmark
from tipc.config import check_environment, read_config
from tipc.exported import plan_onnx, plan_serving
from tipc.formats import MODES
from tipc.plan import Plan
from tipc.runner import Run
from tipc.train_infer import plan_train_infer

# The kinds of configurations: the name in the result files, and the function that adds the steps.
CHAINS = {
    "train_infer": ("python", plan_train_infer),
    "serving": ("serving", plan_serving),
    "paddle2onnx": ("paddle2onnx", plan_onnx),
    "benchmark": ("benchmark", plan_benchmark),
}


def main(argv=None) -> int:
    """Run one command."""
    argv = sys.argv[1:] if argv is None else argv
    parser = make_parser(__doc__)
    parser.add_argument("command", choices=[*CHAINS, "prepare"])
    command = parser.parse_args(argv[:1]).command
    return prepare.main(argv[1:]) if command == "prepare" else run_chain(command, argv[1:])


def run_chain(kind: str, argv: list[str]) -> int:
    """Check everything, make the run folder, and run the steps."""
    label, add_steps = CHAINS[kind]
    parser = make_parser("Run and check every combination of a TIPC configuration.")
    parser.add_argument("config", metavar="CONFIG")
    only_mode = {"nargs": "?", "default": MODES[kind][0]} if len(MODES[kind]) == 1 else {}
    parser.add_argument("mode", metavar="MODE", help=", ".join(MODES[kind]), **only_mode)
    if kind == "benchmark":
        parser.add_argument("case", metavar="CASE", nargs="?", help="dynamic_bs8_fp32_DP_N1C1, ...")
    args = parser.parse_args(argv)
    step_seconds = _seconds("TIPC_STEP_SECONDS", 21600)
    ready_seconds = _seconds("TIPC_READY_SECONDS", 120)
    config = read_config(args.config, kind, args.mode)
    check_environment(config, kind)
    name = f"{config.mode}_{config.value('model_name')}_{time.strftime('%Y%m%d-%H%M%S')}"
    base = os.environ.get("TIPC_OUTPUT") or "test_tipc/output"
    plan = Plan(config, Path(base, f"{name}_{os.getpid()}"))
    if kind == "benchmark":
        plan_benchmark(plan, args.case or "")
    else:
        add_steps(plan)
    ensure_writable_dir(plan.folder)
    notes = [f"note: {note}" for note in dict.fromkeys(plan.notes)]
    print(f"run folder: {plan.folder}", *notes, sep="\n")
    status = Run(plan, label, step_seconds, ready_seconds).execute()
    for speed in sorted(plan.folder.glob("index/*_speed")):
        print(speed.read_text(), end="")
    return status


def _seconds(name: str, default: float) -> float:
    value = os.environ.get(name) or default
    try:
        if float(value) > 0:
            return float(value)
    except ValueError:
        pass
    raise UserError("settings", f"{name}={value}: give a number of seconds above 0")


if __name__ == "__main__":
    sys.argv[0] = os.environ.get("TIPC_SCRIPT", sys.argv[0])  # the name at the start of errors
    sys.stdout.reconfigure(line_buffering=True)
    run_main(main)
