"""Fine-tune ConvBERT on a GLUE task or your own data; evaluate regularly and keep the best model.

    python train.py --task_name sst-2 --model_name_or_path convbert-base
    python train.py --train_file reviews.csv --text_column review --label_column stars
    python train.py --resume                         (continue a run that was stopped)
    python -m paddle.distributed.launch --gpus "0,1,2,3" train.py --task_name sst-2 ...

The file reads from top to bottom: flags (`main`), everything a run needs (`build`), the loop
(`fit`), one optimizer step (`train_step`), one evaluation (`evaluate`). Paddle is imported inside
the functions because the number of threads must be set first.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from convbert.command.machine import use_device
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.text.processing import PAD_MULTIPLE, TextProcessor, length_sorted_batches
from convbert.training import run_folder
from convbert.training.data import BatchSampler, EncodedSplit, encode_split
from convbert.training.own_data import open_own_data
from convbert.training.records import Recorder
from convbert.training.settings import TrainConfig
from convbert.training.tasks import TASKS, Examples, Task, glue_examples, report_data
from convbert.training.teacher_logits import teacher_logits_of
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.log import get_logger

FIRST_LOSS_SCALE = 2.0**15  # of float16 training

Results = dict[str, dict[str, float]]  # dev split -> {"loss": ..., name of a metric: ...}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, build everything, then train."""
    config = TrainConfig.parse(argv)
    start_paddle(config.cpu_threads, training=True)
    run = build(config)
    with ExitStack() as stack:
        if run.ranks.is_main:
            stack.enter_context(run_folder.locked(config.output_dir))
        progress = run_folder.prepare(run)
        fit(run, progress, Recorder(run, progress))
    return 0


@dataclass
class Run:
    """All parts of a run.

    Attributes:
        config: the settings.
        task: the row of the task table.
        ranks: this process among those of the run.
        train, dev: the tokenized splits; the first dev split chooses the best checkpoint.
        sampler: which examples form which batch.
        model: the classifier or regressor, on the selected device.
        parallel_model: the same with gradients averaged over the processes.
        optimizer, schedule, scaler: AdamW, its learning rate, the loss scaling of float16.
        use_amp: compute in ``config.amp_dtype`` in the operators where that is safe.
    """

    config: TrainConfig
    task: Task
    ranks: Any
    train: EncodedSplit
    dev: list[EncodedSplit]
    sampler: BatchSampler
    model: Any
    parallel_model: Any
    optimizer: Any
    schedule: Any
    scaler: Any
    use_amp: bool
    total_steps: int

    def autocast(self):
        """A context in which the model computes in ``--amp_dtype``, if ``--use_amp`` is set."""
        import paddle

        return paddle.amp.auto_cast(self.use_amp, dtype=self.config.amp_dtype, level="O1")


def build(config: TrainConfig) -> Run:
    """Load data and model and make the optimizer; write nothing, so that errors leave no files.

    Raises:
        UserError: the data, model, device or settings cannot be used.
    """
    import paddle

    from convbert.training import optimizer as optim
    from convbert.training.initial import initial_model, open_tokenizer
    from convbert.training.ranks import join_ranks

    device = use_device(config.device)
    on_gpu = device.startswith("gpu")
    if config.use_amp and not on_gpu:
        get_logger().warning("--use_amp has no effect on a CPU: training in float32")
    task, examples = open_data(config)
    tokenizer = open_tokenizer(config, task.label_names)
    pad_multiple = PAD_MULTIPLE if on_gpu else 1
    processor = TextProcessor(tokenizer, config.max_seq_length, task.label_names, pad_multiple)
    wanted = {"train": teacher_logits_of(config.teacher_logits, examples["train"], task)}
    train, *dev = (
        encode_split(name, split, processor, task.regression, wanted.get(name))
        for name, split in examples.items()
    )

    ranks = join_ranks(device)
    paddle.seed(config.seed)  # the same initial weights in every process
    model = initial_model(config, task.num_classes, processor)
    lengths = train.lengths if config.group_by_length else None
    sampler = BatchSampler(
        len(train), config.batch_size, config.seed, lengths, ranks.rank, ranks.size
    )
    steps_per_epoch = math.ceil(len(sampler) / config.gradient_accumulation_steps)
    total = config.max_steps if config.max_steps > 0 else steps_per_epoch * config.num_train_epochs
    if config.warmup_steps >= total:
        warning = "--warmup_steps %d: the run has %d steps, so it never leaves the warm-up"
        get_logger().warning(warning, config.warmup_steps, total)
    schedule = optim.SCHEDULERS[config.scheduler_type](config.learning_rate, total, config.warmup)
    optimizer = optim.make_optimizer(
        model,
        schedule,
        model.config.num_hidden_layers,
        config.layer_lr_decay,
        config.weight_decay,
        config.adam_epsilon,
        config.max_grad_norm,
    )
    use_amp = config.use_amp and on_gpu
    scaled = use_amp and config.amp_dtype == "float16"  # bfloat16 has the range of float32
    scaler = paddle.amp.GradScaler(enable=scaled, init_loss_scaling=FIRST_LOSS_SCALE)
    if ranks.is_main:
        count = sum(parameter.size for parameter in model.parameters())
        facts = (device, ranks.size, count, len(train))
        text = "device: %s, processes: %d, parameters: %d, training examples: %d"
        get_logger().info(text, *facts)
    optimization = (model, ranks.wrap(model), optimizer, schedule, scaler, use_amp, total)
    return Run(config, task, ranks, train, dev, sampler, *optimization)


def open_data(config: TrainConfig) -> tuple[Task, dict[str, Examples]]:
    """Read the task and its splits, "train" first: the user's own files or a GLUE task."""
    if config.train_file:
        task, examples = open_own_data(config)
    else:
        task = TASKS[config.task_name]
        splits = ("train", *task.dev_splits)
        examples = {name: glue_examples(task.name, name, config.data_dir) for name in splits}
    report_data(task, examples)
    return task, examples


class Update(NamedTuple):
    """One optimizer step and the examples it trains on."""

    step: int  # from 1
    epoch: int  # from 0
    batch: int  # the last batch of this step within its epoch, from 0
    batches: list[list[int]]  # indices of the examples, for this process

    @property
    def num_examples(self) -> int:
        """Examples of this process in the step."""
        return sum(map(len, self.batches))


def updates(run: Run, done: int = 0) -> Iterator[Update]:
    """Yield the optimizer steps of a run after the first ``done``, epoch after epoch."""
    group, step, epoch = run.config.gradient_accumulation_steps, 0, 0
    while True:
        batches = list(run.sampler.epoch(epoch))
        for first in range(0, len(batches), group):
            if step == run.total_steps:
                return
            step += 1
            if step > done:
                part = batches[first : first + group]
                yield Update(step, epoch, first + len(part) - 1, part)
        epoch += 1


def fit(run: Run, progress: run_folder.Progress, record: Recorder) -> None:
    """Train to the last step; every ``save_steps`` steps evaluate and keep the best weights."""
    config = run.config
    try:
        # A resumed run repeats its last step without training, because its evaluation may be
        # missing.
        for update in record.bar(updates(run, done=progress.step - 1)):
            step, last = update.step, update.step == run.total_steps
            if step > progress.step:
                with hold_signals():  # until the step is complete
                    progress.losses.append(train_step(run, update))
                    progress.step = step
            if (last or step % config.logging_steps == 0) and step > progress.logged:
                record.training(update, mean_loss(progress.losses), float(run.optimizer.get_lr()))
                progress.losses, progress.logged = [], step
            if (last or step % config.save_steps == 0) and step > progress.evaluated:
                with record.pause():
                    evaluate_and_save(run, progress, record, update)
    except (KeyboardInterrupt, SystemExit):
        run_folder.save_state(run, progress)
        raise
    finally:  # also after Ctrl-C, SIGTERM or a loss that is not a number
        record.finish()
    run_folder.remove_states(run)


def evaluate_and_save(run: Run, progress: run_folder.Progress, record: Recorder, update) -> None:
    """Evaluate, save the weights if they are at least as good as the best ones, save a state."""
    started = time.perf_counter()
    results, logits = evaluate(run)
    record.evaluation(update, results, time.perf_counter() - started)
    best = progress.best
    if best is None or score(run, results) >= score(run, best["dev"]):
        run_folder.save_best(run)
        progress.best = {"step": update.step, "epoch": update.epoch, "dev": results}
        record.best(logits)
    progress.evaluated = update.step
    if update.step < run.total_steps:
        run_folder.save_state(run, progress)


def train_step(run: Run, update: Update):
    """Do one optimizer step: forward, loss, backward, update. Returns the loss, a scalar tensor.

    The mean over several accumulated batches gives every example the same weight.
    """
    import paddle

    from convbert.training.distillation import soft_loss

    config = run.config
    # Dropout is a function of seed, step and process, so a resumed run equals an uninterrupted one.
    random = np.random.default_rng([config.seed, update.step, run.ranks.rank])
    paddle.seed(int(random.integers(2**31)))
    run.model.train()
    total = paddle.zeros([])
    for number, indices in enumerate(update.batches, start=1):
        # input_ids [B, L], token_type_ids [B, L], labels [B]
        input_ids, token_type_ids, labels = map(paddle.to_tensor, run.train.batch(indices))
        accumulate = number < len(update.batches)
        with run.ranks.local_gradients(run.parallel_model, local=accumulate):
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


def mean_loss(losses: list) -> float:
    """The mean of the losses since the last printed line.

    Raises:
        UserError: it is not a finite number. This is not checked in every step, because the check
            would wait for the GPU.
    """
    import paddle

    return finite(float(paddle.stack(losses).mean()), "training")


def finite(loss: float, where: str) -> float:
    """Return ``loss``; raise `UserError` if it is nan or infinite."""
    if not math.isfinite(loss):
        raise UserError(
            "not-finite",
            f"the {where} loss became {loss}: give a lower --learning_rate, a longer warm-up or "
            "--max_grad_norm 1; the best checkpoint so far is kept",
        )
    return loss


def evaluate(run: Run) -> tuple[Results, dict[str, np.ndarray]]:
    """Evaluate all dev splits; return the results and the logits of each split.

    Raises:
        UserError: a loss is not a finite number.
    """
    import paddle

    from paddlenlp import metrics

    results, logits = {}, {split.name: predict(run, split) for split in run.dev}
    for split in run.dev:
        outputs = logits[split.name]
        loss = float(run.task.loss(paddle.to_tensor(outputs), paddle.to_tensor(split.labels)))
        metric = getattr(metrics, run.task.metric)()
        metric.update(metric.compute(outputs, split.labels))
        results[split.name] = {"loss": finite(loss, f"'{split.name}'"), **metric.results()}
    return results, logits


def score(run: Run, results: Results) -> float:
    """The number that chooses the best checkpoint: the task's metric on the first dev split."""
    return next(iter(results.values()))[run.task.selection]


def predict(run: Run, split: EncodedSplit) -> np.ndarray:
    """Return the logits of a whole split, [examples, C] float32, in every process.

    The batches do not depend on the number of processes, so neither do the logits: each process
    fills its rows of a zero matrix and the matrices are added.
    """
    import paddle

    run.model.eval()
    logits = np.zeros((len(split), run.model.config.num_classes), np.float32)
    batches = list(length_sorted_batches(split.lengths, run.config.batch_size))
    with paddle.no_grad(), run.autocast():
        for indices in batches[run.ranks.rank :: run.ranks.size]:
            input_ids, token_type_ids, _ = map(paddle.to_tensor, split.batch(indices))
            output = run.model(input_ids, token_type_ids)
            logits[indices] = output.astype("float32").numpy()
    return run.ranks.sum(logits)


if __name__ == "__main__":
    run_main(main)
