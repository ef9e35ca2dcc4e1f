"""Fine-tune ConvBERT on a GLUE task, with evaluation in the loop and the best checkpoint kept.

    python train.py --task_name sst-2 --model_name_or_path convbert-base
    python -m paddle.distributed.launch --gpus "0,1,2,3" train.py --task_name sst-2 ...

Everything below is in ``convbert/training``: flags in ``settings``, what is built from them in
``build``, one step and one evaluation in ``trainer``, what is printed and saved in ``records``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.training.settings import TrainConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, build everything, then train."""
    config = TrainConfig.parse(argv)
    start_paddle(config.cpu_threads, training=True)  # before the modules that import Paddle
    from convbert.training.build import build_trainer
    from convbert.training.records import Recorder
    from convbert.training.run_folder import open_run_dir

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
        trainer: `convbert.training.trainer.Trainer`, does steps and evaluations.
        recorder: `convbert.training.records.Recorder`, prints and saves.
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
