"""Fine-tune ConvBERT on a GLUE task, with evaluation in the loop and the best checkpoint kept.

    python train.py --task_name sst-2 --model_name_or_path convbert-base
    python -m paddle.distributed.launch --gpus "0,1,2,3" train.py --task_name sst-2 ...

Flags: ``convbert/config.py``. What is built from them: ``convbert/build.py``. One step and one
evaluation: ``convbert/training.py``. What is printed and saved: ``convbert/recorder.py``.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent))

from convbert.cli import (
    exit_on_sigterm,
    hold_signals,
    keep_freed_memory,
    run_main,
    set_cpu_environment,
)
from convbert.config import TrainConfig


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read the flags, build everything, then train."""
    config = TrainConfig.parse(argv)
    keep_freed_memory()
    set_cpu_environment(config.cpu_threads)  # has to come before Paddle, which these import
    from convbert.build import build_trainer
    from convbert.recorder import Recorder
    from convbert.run_dir import open_run_dir

    exit_on_sigterm()
    trainer = build_trainer(config)
    with ExitStack() as stack:
        if trainer.ranks.is_main:
            stack.enter_context(open_run_dir(config.output_dir))
        fit(config, trainer, Recorder(config.output_dir, trainer))
    return 0


def fit(config: TrainConfig, trainer, recorder) -> None:
    """Train to the last step; evaluate every ``save_steps`` steps and keep the best weights.

    Args:
        config: the settings.
        trainer: `convbert.training.Trainer`, does steps and evaluations.
        recorder: `convbert.recorder.Recorder`, prints and saves.
    """
    update = None
    try:
        for update in recorder.progress(trainer.updates()):
            with hold_signals():
                trainer.step(update)
            last = update.step == trainer.total_steps
            if last or update.step % config.logging_steps == 0:
                recorder.training(update)
            if last or update.step % config.save_steps == 0:
                with recorder.pause(), trainer.weights_to_keep():
                    evaluate(trainer, recorder, update)
    finally:  # also after Ctrl-C, SIGTERM or a loss that is not a number
        recorder.finish(update)


def evaluate(trainer, recorder, update) -> None:
    """Evaluate all dev splits; weights at least as good as the best so far replace them."""
    started = time.perf_counter()
    results = trainer.evaluate()
    recorder.evaluation(update, results, time.perf_counter() - started)
    if recorder.improves(results):
        recorder.keep_best(update, results)


if __name__ == "__main__":
    run_main(main)
