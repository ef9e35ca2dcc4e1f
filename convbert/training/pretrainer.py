"""Replaced-token detection on a text file: data, masks, one step, and a state to resume from.

Order, masks, samples and dropout of step n are functions of the seed and n alone. So the state of
a run is its weights, its optimizer and a number, and a resumed run equals one without a break.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle

from convbert.command.machine import use_device
from convbert.text.processing import Features, TextProcessor
from convbert.text.reading import read_lines
from convbert.training.optimizer import make_optimizer, make_schedule
from convbert.training.pretrain_settings import REVIEWS, PretrainConfig
from convbert.training.sampler import BatchSampler
from paddlenlp.datasets import load_dataset
from paddlenlp.transformers import (
    ConvBertDiscriminator,
    ConvBertForTotalPretraining,
    ConvBertGenerator,
    ConvBertPretrainingCriterion,
    ConvBertTokenizer,
)
from paddlenlp.transformers.checkpoint import read_json, read_weights, require_files
from paddlenlp.transformers.convbert.pretraining import IGNORED, generator_config
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_directory

STATE_DIR = "last"  # in the output directory; replaced as a whole
PARTS = ("discriminator", "generator")  # checkpoint directories in it
OPTIMIZER_FILE = "optimizer.pdparams"
PROGRESS_FILE = "progress.json"
MASK_TOKEN_SHARE = 0.85  # of the chosen positions; the rest keep their word, as in ELECTRA's code


class Pretrainer:
    """Everything that changes while pretraining, and the data.

    Args:
        config: the settings.

    Raises:
        UserError: text, vocabulary, sizes or device that cannot work.
    """

    def __init__(self, config: PretrainConfig):
        self.config = config
        self.device = use_device(config.device)
        self.tokenizer = ConvBertTokenizer(config.vocab_file)
        self.processor = TextProcessor(self.tokenizer, config.max_seq_length)
        words, padding = self.tokenizer.vocab_size, self.tokenizer.pad_token_id
        model_config = config.model_config(words, padding)
        self.processor.check_fits(model_config, config.vocab_file)
        self.sequences = read_sequences(config, self.tokenizer)
        lengths = [len(ids) for ids in self.sequences]
        self.sampler = BatchSampler(len(lengths), config.batch_size, config.seed, lengths)
        paddle.seed(config.seed)
        self.model = ConvBertForTotalPretraining(
            ConvBertGenerator(generator_config(model_config, config.generator_share)),
            ConvBertDiscriminator(model_config),
        )
        self.criterion = ConvBertPretrainingCriterion(model_config.vocab_size)
        self.schedule = make_schedule(
            "linear", config.learning_rate, config.max_steps, float(config.warmup_proportion)
        )
        self.optimizer = make_optimizer(
            self.model,
            self.schedule,
            model_config.num_hidden_layers,
            layer_lr_decay=1.0,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
        )
        self.step = 0  # steps done

    def batches(self) -> Iterator[list[int]]:
        """Yield the batches of sequence numbers that are left, epoch after epoch."""
        while self.step < self.config.max_steps:
            epoch, first = divmod(self.step, len(self.sampler))
            for indices in list(self.sampler.epoch(epoch))[first:]:
                if self.step == self.config.max_steps:
                    return
                yield indices

    def train_step(self, indices: list[int]) -> tuple[float, float]:
        """Do one optimizer step; return the losses of generator and discriminator.

        Raises:
            UserError: a loss is no longer a number.
        """
        features = [Features(self.sequences[i], np.zeros_like(self.sequences[i])) for i in indices]
        raw, types = self.processor.collate(features)
        random = np.random.default_rng([self.config.seed, self.step])
        masked, labels = mask_tokens(raw, self.tokenizer, self.config.mask_probability, random)
        masked, types, raw, labels = map(paddle.to_tensor, (masked, types, raw, labels))
        paddle.seed(int(random.integers(2**31)))  # samples and dropout
        self.model.train()
        gen_logits, disc_logits, disc_labels, mask = self.model(
            masked, types, raw_input_ids=raw, gen_labels=labels
        )
        generator = self.criterion.generator_loss(gen_logits, labels)
        discriminator = self.criterion.discriminator_loss(disc_logits, disc_labels, mask)
        loss = self.criterion.gen_weight * generator + self.criterion.disc_weight * discriminator
        if not math.isfinite(float(loss)):
            raise UserError(
                "not-finite",
                f"the loss became {float(loss)} in step {self.step + 1}: give a lower "
                "--learning_rate or a longer warm-up; --resume goes on from the last saved state",
            )
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        self.step += 1
        return float(generator), float(discriminator)

    def save(self) -> Path:
        """Write the state; it appears whole or not at all. Returns its directory.

        ``discriminator`` and ``generator`` in it are checkpoints of their own: the first is what
        train.py takes as ``--model_name_or_path``.
        """
        directory = Path(self.config.output_dir) / STATE_DIR
        progress = {"step": self.step, "text": self._fingerprint(), **self.config.identity()}
        with atomic_directory(directory) as work:
            for part in PARTS:
                getattr(self.model, part).save_pretrained(str(work / part))
                self.tokenizer.save_pretrained(work / part)
            paddle.save(optimizer_arrays(self.optimizer, self.model), str(work / OPTIMIZER_FILE))
            (work / PROGRESS_FILE).write_text(json.dumps(progress, indent=2) + "\n")
        return directory

    def resume(self) -> None:
        """Take up the state in the output directory.

        Raises:
            UserError: there is none, it is damaged, or it belongs to other settings (named).
        """
        directory = Path(self.config.output_dir) / STATE_DIR
        require_files(str(directory), [PROGRESS_FILE, OPTIMIZER_FILE], "saved state")
        progress = read_json(str(directory / PROGRESS_FILE))
        expected = {"text": self._fingerprint(), **self.config.identity()}
        for name, value in expected.items():
            if progress.get(name) != value:
                raise UserError(
                    "resume",
                    f"the run in {directory} had {name} {progress.get(name)!r}, not {value!r}: "
                    "resume with its settings or give another --output_dir",
                )
        for part in PARTS:
            weights = read_weights(str(directory / part / "model_state.pdparams"))
            getattr(self.model, part).load_weights(weights, str(directory / part))
        arrays = read_weights(str(directory / OPTIMIZER_FILE))
        self.step = int(progress["step"])
        self.schedule.step(self.step)
        set_optimizer_arrays(self.optimizer, self.schedule, self.model, arrays)

    def _fingerprint(self) -> int:
        """A number that changes with the tokens of the text."""
        total = 0
        for ids in self.sequences:
            total = zlib.crc32(ids.tobytes(), total)
        return total


def read_sequences(config: PretrainConfig, tokenizer: ConvBertTokenizer) -> list[np.ndarray]:
    """Read and tokenize the text; each sequence is ``[CLS] ... [SEP]``, int32, cut to length.

    Raises:
        UserError: the file is unreadable, not UTF-8, or has no words.
    """
    if config.input_file is None:
        examples = load_dataset("glue", "sst-2", "train", data_dir=str(REVIEWS))
        lines = [example["sentence"] for example in examples]
    else:
        lines = [line for _, line in read_lines(config.input_file) if line.strip()]
    room = config.max_seq_length - 2
    sequences = []
    for encoded in tokenizer.batch_encode(lines, max_seq_len=max(map(len, lines), default=1) + 2):
        words = encoded.input_ids[1:-1]
        for start in range(0, len(words), room):
            part = [tokenizer.cls_token_id, *words[start : start + room], tokenizer.sep_token_id]
            sequences.append(np.array(part, dtype=np.int32))
    if not sequences:
        raise UserError(
            "empty-input", f"{config.input_file} holds no words: give one sentence a line"
        )
    return sequences


def mask_tokens(
    ids: np.ndarray, tokenizer: ConvBertTokenizer, probability: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the words that the generator must guess: a share of each row, at least one.

    Args:
        ids: [B, L] int64.
        tokenizer: tells the special tokens, which are never chosen.
        probability: the share.
        random: decides.

    Returns:
        The masked ids and the labels, -100 where not chosen, both [B, L] int64.
    """
    words = ~np.isin(ids, tokenizer.all_special_ids)
    order = np.where(words, random.random(ids.shape), np.inf).argsort(axis=1).argsort(axis=1)
    counts = np.maximum(1, np.round(probability * words.sum(axis=1))).astype(int)
    chosen = (order < counts[:, None]) & words
    hidden = chosen & (random.random(ids.shape) < MASK_TOKEN_SHARE)
    masked = np.where(hidden, tokenizer.mask_token_id, ids)
    return masked, np.where(chosen, ids, IGNORED)


def optimizer_arrays(optimizer, model) -> dict[str, np.ndarray]:
    """Return the optimizer's moments as ``{parameter name}@{moment}``.

    Paddle names them after internal counters, which differ from process to process.
    """
    names = {parameter.name: name for name, parameter in model.named_parameters()}
    arrays = {}
    for key, value in optimizer.state_dict().items():
        owner = max((n for n in names if key.startswith(n + "_")), key=len, default=None)
        if owner is not None:
            arrays[f"{names[owner]}@{key[len(owner) + 1 :]}"] = np.asarray(value)
    return arrays


def set_optimizer_arrays(optimizer, schedule, model, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `optimizer_arrays` returned; ``schedule`` already stands at its step.

    Raises:
        UserError: moments are missing or left over.
    """
    names = {name: parameter.name for name, parameter in model.named_parameters()}
    owners = {key: key.split("@")[0] for key in arrays}
    strange = sorted(set(owners.values()) ^ set(names))
    if strange:
        raise UserError("resume", f"the saved optimizer does not fit the model at {strange[0]}")
    state = {
        f"{names[owners[key]]}_{key.split('@')[1]}": paddle.to_tensor(value)
        for key, value in arrays.items()
    }
    optimizer.set_state_dict({**state, "LR_Scheduler": schedule.state_dict()})
