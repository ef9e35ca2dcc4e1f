"""Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file; small scale, resumable.

    python pretrain.py --max_steps 1000
    python pretrain.py --input_file corpus.txt --vocab_file vocab.txt --output_dir ./pretrained
    python pretrain.py --resume --output_dir ./pretrained ...        (the same settings)
    python train.py --model_name_or_path ./pretrained/last/discriminator ...

One process, one text file in memory: enough to see the method work and to warm up a small model,
not to reproduce the paper's pretraining. Settings:
``convbert/training/pretrain_settings.py``; the step: ``convbert/training/pretrainer.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.training.pretrain_settings import PretrainConfig
from paddlenlp.utils.errors import UserError

LINE = (
    "global step {step}/{total}, generator loss: {generator:.6f}, discriminator loss: "
    "{discriminator:.6f}, lr: {lr:.10f}, speed: {speed:.4f} step/s"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, build or resume, then train."""
    config = PretrainConfig.parse(argv)
    start_paddle(config.cpu_threads, training=True)
    from convbert.training.pretrainer import STATE_DIR, Pretrainer
    from convbert.training.run_folder import open_run_dir

    pretrainer = Pretrainer(config)
    with open_run_dir(config.output_dir) as directory:
        if config.resume:
            pretrainer.resume()
        elif (directory / STATE_DIR).exists():
            raise UserError(
                "resume",
                f"{directory} holds a run: go on with --resume or give another --output_dir",
            )
        fit(config, pretrainer)
    return 0


def fit(config: PretrainConfig, pretrainer) -> None:
    """Train to the last step; print and save on the way."""
    print(f"{len(pretrainer.sequences)} sequences, device: {pretrainer.device}", flush=True)
    losses, started = [], time.perf_counter()
    for indices in pretrainer.batches():
        lr = pretrainer.optimizer.get_lr()
        with hold_signals():
            losses.append(pretrainer.train_step(indices))
        step, last = pretrainer.step, pretrainer.step == config.max_steps
        if last or step % config.logging_steps == 0:
            generator, discriminator = (sum(column) / len(losses) for column in zip(*losses))
            speed = len(losses) / (time.perf_counter() - started)
            values = {"step": step, "total": config.max_steps, "lr": lr, "speed": speed}
            print(
                LINE.format(generator=generator, discriminator=discriminator, **values), flush=True
            )
            losses, started = [], time.perf_counter()
        if last or step % config.save_steps == 0:
            print(f"saved into {pretrainer.save()}", flush=True)


if __name__ == "__main__":
    run_main(main)
