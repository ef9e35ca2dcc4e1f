"""Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file; small scale, resumable.

    python pretrain.py --max_steps 1000
    python pretrain.py --input_file corpus.txt --vocab_file vocab.txt --output_dir ./pretrained
    python pretrain.py --resume --output_dir ./pretrained ...        (the same settings)
    python train.py --model_name_or_path ./pretrained/last/discriminator ...

One process, one text file in memory: enough to see the method work and to warm up a small model,
not to reproduce the paper's pretraining. Settings: ``convbert/pretrain_config.py``; the step:
``convbert/pretraining.py``.
"""

from __future__ import annotations

import sys
import time
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
from convbert.pretrain_config import PretrainConfig
from paddlenlp.utils.errors import UserError

LINE = (
    "global step {step}/{total}, generator loss: {generator:.6f}, discriminator loss: "
    "{discriminator:.6f}, lr: {lr:.10f}, speed: {speed:.4f} step/s"
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read the flags, build or resume, then train."""
    config = PretrainConfig.parse(argv)
    keep_freed_memory()
    set_cpu_environment(config.cpu_threads)
    from convbert.pretraining import STATE_DIR, Pretrainer
    from convbert.run_dir import open_run_dir

    exit_on_sigterm()
    pretrainer = Pretrainer(config)
    with open_run_dir(config.output_dir) as directory:
        if config.resume:
            pretrainer.resume()
        elif (directory / STATE_DIR).exists():
            raise UserError(
                f"{directory} holds a run: go on with --resume or give another --output_dir"
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
