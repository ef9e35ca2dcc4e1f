"""Fine-tune ConvBERT on a GLUE task or your own data; evaluate regularly and keep the best model.

    python train.py --task_name sst-2 --model_name_or_path convbert-base
    python train.py --train_file reviews.csv --text_column review --label_column stars
    python train.py --resume                         (continue a run that was stopped)
    python -m paddle.distributed.launch --gpus "0,1,2,3" train.py --task_name sst-2 ...

The file reads from top to bottom: flags (`main`), everything a run needs (`build`), the loop
(`fit`), one optimizer step (`train_step`), one evaluation (`evaluate`). Paddle is imported inside
the functions because the number of threads must be set first.
"""

import math
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from convbert.command.machine import use_device
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.text.processing import PAD_MULTIPLE, length_sorted_batches
from convbert.training import run_folder
from convbert.training.data import BatchSampler, EncodedSplit, Update, load_data
from convbert.training.records import Recorder
from convbert.training.settings import train_settings
from convbert.training.tasks import Task
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, build everything, then train."""
    config = train_settings(argv)
    start_paddle(config.cpu_threads, training=True)
    run = build(config)
    with run_folder.locked(config.output_dir) if run.rank == 0 else nullcontext():
        progress = run_folder.prepare(run)
        fit(run, progress, Recorder(run, progress))
    return 0


@dataclass
class Run:
    """All parts of a run."""

    config: Namespace
    task: Task
    rank: int  # this process, of ``ranks``; rank 0 prints and writes
    ranks: int
    train: EncodedSplit
    dev: list[EncodedSplit]  # the first one chooses the best checkpoint
    sampler: BatchSampler
    total_steps: int
    model: Any  # the classifier or regressor, on the selected device
    parallel_model: Any  # the same with gradients averaged over the ranks
    schedule: Any
    optimizer: Any
    scaler: Any  # of the loss, for float16
    autocast: Callable  # the context in which the model computes: --use_amp


def build(config: Namespace) -> Run:
    """Load data and model and make the optimizer; write nothing, so that errors leave no files."""
    import paddle

    from convbert.training.initial import initial_model
    from convbert.training.optimizer import make_optimizer, make_schedule

    device = use_device(config.device)
    on_gpu = device.startswith("gpu")
    if config.use_amp and not on_gpu:
        get_logger().warning("--use_amp has no effect on a CPU: training in float32")
    task, train, dev = load_data(config, PAD_MULTIPLE if on_gpu else 1)

    rank, ranks = join_ranks(on_gpu)
    lengths = train.lengths if config.group_by_length else None
    group = config.gradient_accumulation_steps
    sampler = BatchSampler(len(train), config.batch_size, config.seed, lengths, rank, ranks, group)
    steps = sampler.steps_per_epoch * config.num_train_epochs
    total_steps = config.max_steps if config.max_steps > 0 else steps

    paddle.seed(config.seed)  # the same initial weights in every process
    model = initial_model(config, task.num_classes, train.processor)
    parallel_model = paddle.DataParallel(model) if ranks > 1 else model
    schedule = make_schedule(config, total_steps)
    optimizer = make_optimizer(
        model, schedule, model.config.num_hidden_layers,
        layer_lr_decay=config.layer_lr_decay, weight_decay=config.weight_decay,
        epsilon=config.adam_epsilon, max_grad_norm=config.max_grad_norm,
    )  # fmt: skip
    use_amp = config.use_amp and on_gpu
    scaled = use_amp and config.amp_dtype == "float16"  # bfloat16 has the range of float32
    scaler = paddle.amp.GradScaler(enable=scaled, init_loss_scaling=2.0**15)
    autocast = partial(paddle.amp.auto_cast, use_amp, dtype=config.amp_dtype, level="O1")

    if rank == 0:
        count = sum(parameter.size for parameter in model.parameters())
        text = "device: %s, processes: %d, parameters: %d, training examples: %d"
        get_logger().info(text, device, ranks, count, len(train))
    return Run(
        config=config, task=task, rank=rank, ranks=ranks, train=train, dev=dev, sampler=sampler,
        total_steps=total_steps, model=model, parallel_model=parallel_model, schedule=schedule,
        optimizer=optimizer, scaler=scaler, autocast=autocast,
    )  # fmt: skip


def join_ranks(on_gpu: bool) -> tuple[int, int]:
    """Connect the processes of `paddle.distributed.launch`; return this rank and their number."""
    from paddle import distributed

    if int(os.environ.get("PADDLE_TRAINERS_NUM") or 1) > 1:
        if not on_gpu:
            os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
        distributed.init_parallel_env()
    return distributed.get_rank(), distributed.get_world_size()


def fit(run: Run, progress: run_folder.Progress, record: Recorder) -> None:
    """Train to the last step; every ``save_steps`` steps evaluate and keep the best weights."""
    import paddle

    config, total, score = run.config, run.total_steps, run.task.score
    try:
        # A resumed run repeats its last step without training, because its evaluation may be
        # missing.
        for update in record.bar(run.sampler.updates(max(0, progress.step - 1), total)):
            step, last = update.step, update.step == total
            if step > progress.step:
                with hold_signals():  # until the step is complete
                    progress.losses.append(train_step(run, update))
                    progress.step = step
            if (last or step % config.logging_steps == 0) and step > progress.logged:
                # Checked here and not in every step, because a check waits for the GPU.
                loss = finite(float(paddle.stack(progress.losses).mean()), "training")
                record.training(update, loss, float(run.optimizer.get_lr()))
                progress.losses, progress.logged = [], step
            if (last or step % config.save_steps == 0) and step > progress.evaluated:
                with record.pause():
                    results, logits = evaluate(run)
                    record.evaluation(update, results)
                    best = progress.best
                    # Of equal results the later one, which saw more examples.
                    if best is None or score(results) >= score(best["dev"]):
                        run_folder.save_best(run)
                        progress.best = {"step": step, "epoch": update.epoch, "dev": results}
                        record.best(logits)
                    progress.evaluated = step
                    if not last:
                        run_folder.save_state(run, progress)
    except (KeyboardInterrupt, SystemExit):
        run_folder.save_state(run, progress)
        raise
    finally:  # also after Ctrl-C, SIGTERM or a loss that is not a number
        record.finish()
    run_folder.remove_states(run)


def train_step(run: Run, update: Update):
    """Do one optimizer step: forward, loss, backward, update. Returns the loss, a scalar tensor.

    The mean over several accumulated batches gives every example the same weight.
    """
    import paddle

    from convbert.training.teacher import soft_loss

    config = run.config
    # Dropout is a function of seed, step and process, so a resumed run equals an uninterrupted one.
    random = np.random.default_rng([config.seed, update.step, run.rank])
    paddle.seed(int(random.integers(2**31)))
    run.model.train()
    total = paddle.zeros([])
    for number, indices in enumerate(update.batches, start=1):
        # input_ids [B, L], token_type_ids [B, L], labels [B]; the model finds padding by its id
        input_ids, token_type_ids, labels = map(paddle.to_tensor, run.train.batch(indices))
        # The ranks average their gradients in the last batch, for all batches of the step.
        alone = run.ranks > 1 and number < len(update.batches)
        with run.parallel_model.no_sync() if alone else nullcontext():
            with run.autocast():
                logits = run.parallel_model(input_ids, token_type_ids)  # [B, C]
            loss = run.task.loss(logits, labels)
            if run.train.teacher_logits is not None:
                wanted = paddle.to_tensor(run.train.teacher_logits[indices])  # [B, C]
                soft = soft_loss(logits.astype("float32"), wanted, config.temperature)
                loss = config.teacher_weight * soft + (1.0 - config.teacher_weight) * loss
            loss = loss * (len(indices) / update.num_examples)
            run.scaler.scale(loss).backward()
        total = total + loss.detach()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.schedule.step()
    run.optimizer.clear_grad(set_to_zero=False)  # filling with zeros only costs time
    return total


def finite(loss: float, where: str) -> float:
    """Return ``loss``; raise `UserError` if it is nan or infinite."""
    if not math.isfinite(loss):
        raise UserError(
            "not-finite",
            f"the {where} loss became {loss}: give a lower --learning_rate, a longer warm-up or "
            "--max_grad_norm 1; the best checkpoint so far is kept",
        )
    return loss


def evaluate(run: Run) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Evaluate all dev splits; return the results and the logits of each split."""
    import paddle

    from paddlenlp import metrics

    results, logits = {}, {}
    for split in run.dev:
        outputs = logits[split.name] = predict(run, split)
        loss = float(run.task.loss(paddle.to_tensor(outputs), paddle.to_tensor(split.labels)))
        metric = getattr(metrics, run.task.metric)()
        metric.update(metric.compute(outputs, split.labels))
        results[split.name] = {"loss": finite(loss, f"'{split.name}'"), **metric.results()}
    return results, logits


def predict(run: Run, split: EncodedSplit) -> np.ndarray:
    """Return the logits of a whole split, [examples, C] float32, in every process.

    The batches do not depend on the number of processes, so neither do the logits: each process
    fills its rows of a zero matrix and the matrices are added.
    """
    import paddle
    from paddle import distributed

    run.model.eval()
    logits = np.zeros((len(split), run.model.config.num_classes), np.float32)
    batches = list(length_sorted_batches(split.lengths, run.config.batch_size))
    with paddle.no_grad(), run.autocast():
        for indices in batches[run.rank :: run.ranks]:
            input_ids, token_type_ids, _ = map(paddle.to_tensor, split.batch(indices))
            output = run.model(input_ids, token_type_ids)
            logits[indices] = output.astype("float32").numpy()
    if run.ranks > 1:
        total = paddle.to_tensor(logits)
        distributed.all_reduce(total)
        logits = total.numpy()
    return logits


if __name__ == "__main__":
    run_main(main)
