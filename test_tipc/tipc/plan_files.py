"""Writing a plan where bash can read it: one row per step, the words of its commands NUL-ended.

RUN/plan/steps.tsv   number, kind, name, needed steps, log
RUN/plan/N.command   words of the command        RUN/plan/N.check   words of its check
RUN/plan/N.makes     files it must write         RUN/plan/N.shown   the command as the logs show it
RUN/plan/notes.txt   what the reader should know about the inputs
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from convbert.command.flags import make_parser
from paddlenlp.utils.errors import UserError
from tipc import records
from tipc.config import Config, read_config
from tipc.needs import check_needs
from tipc.plan import Step, TrainInferPlan
from tipc.plan_more import BenchmarkPlan, OnnxPlan, ServingPlan
from tipc.slots import FORMATS, ROOT

PLANS: dict[str, Callable] = {
    "train_infer": TrainInferPlan,
    "benchmark": BenchmarkPlan,
    "serving": ServingPlan,
    "paddle2onnx": OnnxPlan,
}


def main(argv: list[str]) -> int:
    """Check everything, make the run folder with the plan in it, and print its path."""
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("kind", choices=list(FORMATS))
    parser.add_argument("config")
    parser.add_argument("mode")
    parser.add_argument("--base", required=True, help="folder of the run folders")
    parser.add_argument("--option", default="", help="what else the kind of plan takes")
    args = parser.parse_args(argv)
    config = read_config(args.config, args.kind, args.mode)
    check_needs(config, args.kind)
    run_dir = unused_name(args.base, config)
    extra = [args.option] if args.option else []
    plan = PLANS[args.kind](config, run_dir, *extra)
    steps = plan.build()
    prepare = f"bash test_tipc/prepare.sh {args.config} {args.mode}"
    records.check_inputs([word for step in steps for word in step.command], prepare)
    write_plan(run_dir, steps, plan.notes)
    print(run_dir)
    return 0


def unused_name(base: str, config: Config) -> str:
    """Name a folder that no other run has: mode, model, time and process."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{config.mode}_{config.value('model_name')}_{stamp}_{os.getpid()}"
    return os.path.join(base, name)


def write_plan(run_dir: str, steps: Iterable[Step], notes: Iterable[str]) -> None:
    """Make the run folder and write the plan into it.

    Raises:
        UserError: the folder exists or cannot be made.
    """
    folder = Path(ROOT, run_dir, "plan")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            "not-writable", f"cannot make the run folder {run_dir}: {error.strerror}"
        ) from None
    rows = []
    for number, step in enumerate(steps, start=1):
        needs = " ".join(map(str, step.needs)) or "-"
        rows.append(f"{number}\t{step.kind}\t{step.name}\t{needs}\t{step.log}\n")
        for ending in ("command", "check", "makes"):
            words = getattr(step, ending)
            (folder / f"{number}.{ending}").write_text("".join(f"{word}\0" for word in words))
        shown = " ".join(map(shlex.quote, step.command))
        (folder / f"{number}.shown").write_text(f"{shown} > {step.log} 2>&1 ")
    (folder / "steps.tsv").write_text("".join(rows))
    (folder / "notes.txt").write_text("".join(f"note: {note}\n" for note in notes))
