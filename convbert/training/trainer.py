"""One optimizer step and one evaluation of fine-tuning; the loop around them is train.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

from convbert.text.processing import length_sorted_batches
from convbert.training.averaging import WeightAverage
from convbert.training.data import Batch, EncodedSplit
from convbert.training.optimizer import make_optimizer, make_schedule
from convbert.training.ranks import Ranks
from convbert.training.sampler import BatchSampler
from convbert.training.settings import TrainConfig
from convbert.training.tasks import Task
from paddlenlp import metrics
from paddlenlp.utils.errors import UserError

FIRST_LOSS_SCALE = 2.0**15


@dataclass(frozen=True)
class Update:
    """One optimizer step: its number (from 1), its place in the data and its batches of indices."""

    step: int
    epoch: int  # from 0
    batch: int  # last batch of this update within the epoch, from 0
    batches: list[list[int]]

    @property
    def num_examples(self) -> int:
        """Examples this rank trains on in the step."""
        return sum(len(batch) for batch in self.batches)


class Trainer:
    """Everything that changes while training: weights, optimizer, schedule, running loss.

    Args:
        config: the settings.
        task: row of the task table.
        model: classifier or regressor, on the selected device.
        train: the training split.
        dev: the splits to evaluate.
        ranks: this process among those of the run.
        use_amp: compute in ``config.amp_dtype`` where that is safe.
    """

    def __init__(
        self,
        config: TrainConfig,
        task: Task,
        model: paddle.nn.Layer,
        train: EncodedSplit,
        dev: list[EncodedSplit],
        ranks: Ranks,
        use_amp: bool = False,
    ):
        self.config, self.task, self.model, self.ranks = config, task, model, ranks
        self.train, self.dev, self.use_amp = train, dev, use_amp
        lengths = train.lengths if config.group_by_length else None
        self.sampler = BatchSampler(
            len(train), config.batch_size, config.seed, lengths, ranks.rank, ranks.size
        )
        per_epoch = -(-len(self.sampler) // config.gradient_accumulation_steps)
        epochs_steps = per_epoch * config.num_train_epochs
        self.total_steps = config.max_steps if config.max_steps > 0 else epochs_steps
        self.schedule = make_schedule(
            config.scheduler_type, config.learning_rate, self.total_steps, config.warmup
        )
        self.optimizer = make_optimizer(
            model,
            self.schedule,
            model.config.num_hidden_layers,
            config.layer_lr_decay,
            config.weight_decay,
            config.adam_epsilon,
            config.max_grad_norm,
        )
        scaled = use_amp and config.amp_dtype == "float16"  # bfloat16 has float32's range
        self.scaler = paddle.amp.GradScaler(enable=scaled, init_loss_scaling=FIRST_LOSS_SCALE)
        self.parallel_model = ranks.wrap(model)
        self.average = WeightAverage(model, config.ema_decay) if config.ema_decay else None
        self._losses: list[paddle.Tensor] = []

    @property
    def device(self) -> str:
        """Where the weights are: ``cpu`` or ``gpu:0``."""
        return str(self.model.parameters()[0].place)[len("Place(") : -1]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the head in the next step."""
        return float(self.optimizer.get_lr())

    def updates(self) -> Iterator[Update]:
        """Yield the steps of the run in order, epoch after epoch."""
        step, group = 0, self.config.gradient_accumulation_steps
        epoch = 0
        while True:
            batches = list(self.sampler.epoch(epoch))
            for start in range(0, len(batches), group):
                if step == self.total_steps:
                    return
                step += 1
                part = batches[start : start + group]
                yield Update(step, epoch, start + len(part) - 1, part)
            epoch += 1

    def step(self, update: Update) -> None:
        """Do one optimizer step; the mean over its batches weighs every example alike."""
        self.model.train()
        total = paddle.zeros([])
        for number, indices in enumerate(update.batches, start=1):
            *inputs, labels = map(paddle.to_tensor, self.training_batch(update, indices))
            waiting = number < len(update.batches)
            with self.ranks.local_gradients(self.parallel_model, local=waiting):
                with self._autocast():
                    logits = self.parallel_model(*inputs)
                loss = self.loss(logits, labels) * (len(indices) / update.num_examples)
                self.scaler.scale(loss).backward()
            total = total + loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.clear_grad(set_to_zero=False)  # filling with zeros only costs time
        if self.average:
            self.average.update(update.step)
        self._losses.append(total)

    def weights_to_keep(self):
        """Return a context in which the model has the weights to evaluate and to save."""
        return self.average.applied() if self.average else nullcontext()

    def training_batch(self, update: Update, indices: list[int]) -> Batch:
        """Return one batch of ``update`` (see `EncodedSplit.batch`), some of its words hidden."""
        input_ids, token_type_ids, labels = self.train.batch(indices)
        if self.config.word_dropout:
            random = np.random.default_rng([self.config.seed, update.step, indices[0]])
            tokenizer = self.train.processor.tokenizer
            hidden = random.random(input_ids.shape) < self.config.word_dropout
            hidden &= ~np.isin(input_ids, tokenizer.all_special_ids)
            input_ids[hidden] = tokenizer.mask_token_id
        return input_ids, token_type_ids, labels

    def loss(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Mean cross entropy of logits [B, C], or mean squared error of scores [B, 1]."""
        logits = logits.astype("float32")
        if self.task.regression:
            return F.mse_loss(logits.squeeze(-1), labels)
        return F.cross_entropy(logits, labels)

    def mean_loss(self) -> float:
        """Mean training loss of this rank since the last call; nan when there was no step.

        Raises:
            UserError: the loss is no longer a number. Asked here and not in every step, because a
                GPU must finish its work to answer.
        """
        if not self._losses:
            return math.nan
        mean = float(paddle.stack(self._losses).mean())
        self._losses = []
        return self._finite(mean, "training")

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate all dev splits: ``{split: {"loss": mean loss, metric name: value, ...}}``.

        Raises:
            UserError: a loss is not a number.
        """
        return {split.name: self._evaluate(split) for split in self.dev}

    def _evaluate(self, split: EncodedSplit) -> dict[str, float]:
        logits = self.predict(split)
        loss = float(self.loss(paddle.to_tensor(logits), paddle.to_tensor(split.labels)))
        metric = getattr(metrics, self.task.metric)()
        metric.update(metric.compute(logits, split.labels))
        return {"loss": self._finite(loss, f"'{split.name}'"), **metric.results()}

    @paddle.no_grad()
    def predict(self, split: EncodedSplit) -> np.ndarray:
        """Return the logits of a whole split, [examples, C] float32, on every rank.

        The batches do not depend on the number of ranks, so neither do the logits: each rank fills
        its rows of a zero matrix and the matrices are added.
        """
        self.model.eval()
        logits = np.zeros((len(split), self.model.config.num_classes), np.float32)
        batches = list(length_sorted_batches(split.lengths, self.config.batch_size))
        for indices in batches[self.ranks.rank :: self.ranks.size]:
            input_ids, token_type_ids, _ = split.batch(indices)
            with self._autocast():
                output = self.model(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids))
            logits[indices] = output.astype("float32").numpy()
        return self.ranks.sum(logits)

    def _autocast(self):
        return paddle.amp.auto_cast(enable=self.use_amp, dtype=self.config.amp_dtype, level="O1")

    def _finite(self, loss: float, where: str) -> float:
        if not math.isfinite(loss):
            raise UserError(
                "not-finite",
                f"the {where} loss became {loss}: give a lower --learning_rate, a longer warm-up "
                "or --max_grad_norm 1; the best checkpoint so far is kept",
            )
        return loss
