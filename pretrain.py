"""Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file; small scale, resumable.

    python pretrain.py --max_steps 1000
    python pretrain.py --input_file corpus.txt --vocab_file vocab.txt --output_dir ./pretrained
    python pretrain.py --resume --output_dir ./pretrained ...    (continue, with the same settings)
    python train.py --model_name_or_path ./pretrained/last/discriminator ...

It runs in one process and keeps the text file in memory. This is enough to see how the method works
and to pretrain a small model, but not to reproduce the paper's pretraining. Like train.py, the file
reads from top to bottom; Paddle is imported inside the functions because the number of threads must
be set first.
"""

import math
import sys
import time
import zlib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from convbert.command.machine import use_device
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.text.processing import TextProcessor
from convbert.training.data import BatchSampler, Update
from convbert.training.run_folder import locked
from convbert.training.settings import SIZES, given, identity, pretrain_settings
from convbert.training.tasks import glue_examples
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.transformers.tokenizer_utils import Features
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.lines import read_lines

IGNORED = -100  # label of the positions that the generator does not predict
MASK_TOKEN_SHARE = 0.85  # of the chosen positions; the others keep their word, as in ELECTRA's code
STATE_DIR = "last"  # in the output directory; replaced as a whole
LINE = (
    "global step {step}/{total}, generator loss: {generator:.6f}, discriminator loss: "
    "{discriminator:.6f}, lr: {lr:.10f}, speed: {speed:.4f} step/s"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, build or resume, then train."""
    config = pretrain_settings(argv)
    start_paddle(config.cpu_threads, training=True)
    run = build(config)
    with locked(config.output_dir) as directory:
        if config.resume:
            run.step = run.state.read(directory / STATE_DIR)["step"]
        elif (directory / STATE_DIR).exists():
            raise UserError(
                "resume",
                f"{directory} has a run: continue it with --resume or give another --output_dir",
            )
        fit(run, directory / STATE_DIR)
    return 0


@dataclass
class Run:
    """All parts of a run."""

    config: Namespace
    processor: TextProcessor  # pads the batches; its tokenizer gives the special tokens
    sequences: list[np.ndarray]  # the text as ``[CLS] ... [SEP]``, int32
    sampler: BatchSampler
    model: Any  # generator and discriminator with shared embeddings
    criterion: Any  # the two losses and their weights
    schedule: Any
    optimizer: Any
    state: Any  # saves and restores the run; its models are complete checkpoints
    step: int = 0  # optimizer steps done


def build(config: Namespace) -> Run:
    """Read the text, make random models and their optimizer; write nothing."""
    import paddle

    from convbert.training.optimizer import make_optimizer
    from convbert.training.state import State
    from paddlenlp import transformers
    from paddlenlp.transformers.convbert.pretraining import generator_config

    device = use_device(config.device)
    tokenizer = ConvBertTokenizer(config.vocab_file)
    processor = TextProcessor(tokenizer, config.max_seq_length)
    words = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_token_id}
    sizes = given(config, SIZES)
    size = transformers.ConvBertConfig.preset(config.model_size, **sizes, **words)
    processor.check_fits(size, config.vocab_file)
    sequences = read_sequences(config, tokenizer)
    lengths = [len(ids) for ids in sequences]
    sampler = BatchSampler(len(lengths), config.batch_size, config.seed, lengths)

    paddle.seed(config.seed)
    model = transformers.ConvBertForTotalPretraining(
        transformers.ConvBertGenerator(generator_config(size, config.generator_share)),
        transformers.ConvBertDiscriminator(size),
    )
    criterion = transformers.ConvBertPretrainingCriterion(size.vocab_size)
    warmup = float(config.warmup_proportion)
    schedule = transformers.LinearDecayWithWarmup(config.learning_rate, config.max_steps, warmup)
    optimizer = make_optimizer(
        model, schedule, size.num_hidden_layers, layer_lr_decay=1.0,
        weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm,
    )  # fmt: skip
    parts = {"discriminator": model.discriminator, "generator": model.generator}
    same = {"text": zlib.crc32(np.concatenate(sequences)), **identity(config)}
    state = State(parts, model, tokenizer, optimizer, schedule, same)
    print(f"{len(sequences)} sequences, device: {device}", flush=True)
    return Run(
        config=config, processor=processor, sequences=sequences, sampler=sampler, model=model,
        criterion=criterion, schedule=schedule, optimizer=optimizer, state=state,
    )  # fmt: skip


def read_sequences(config: Namespace, tokenizer: ConvBertTokenizer) -> list[np.ndarray]:
    """Read and tokenize the text; each sequence is ``[CLS] ... [SEP]``, int32, cut to length."""
    if config.input_file is None:
        lines = glue_examples("sst-2", "train", REVIEWS).texts
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
            "empty-input", f"{config.input_file} contains no words: give one sentence per line"
        )
    return sequences


def fit(run: Run, directory: Path) -> None:
    """Train to the last step; print, and save into ``directory``, regularly."""
    config, losses, started = run.config, [], time.perf_counter()
    for update in run.sampler.updates(run.step, config.max_steps):
        lr = run.optimizer.get_lr()
        with hold_signals():  # until the step is complete
            losses.append(train_step(run, update))
        last = run.step == config.max_steps
        if last or run.step % config.logging_steps == 0:
            generator, discriminator = np.mean(losses, axis=0)
            speed = len(losses) / (time.perf_counter() - started)
            values = {"step": run.step, "total": config.max_steps, "lr": lr, "speed": speed}
            line = LINE.format(generator=generator, discriminator=discriminator, **values)
            print(line, flush=True)
            losses, started = [], time.perf_counter()
        if last or run.step % config.save_steps == 0:
            run.state.write(directory, {"step": run.step})
            print(f"saved into {directory}", flush=True)


def train_step(run: Run, update: Update) -> tuple[float, float]:
    """Do one optimizer step; return the losses of generator and discriminator.

    The generator predicts masked words; the discriminator finds the words that the generator
    replaced (arXiv 2003.10555, section 2).
    """
    import paddle

    # Masks, samples, dropout and the order of the data are functions of seed and step.
    random = np.random.default_rng([run.config.seed, run.step])
    sequences = [run.sequences[index] for index in update.batches[0]]
    features = [Features(ids, np.zeros_like(ids)) for ids in sequences]
    ids, token_types = run.processor.collate(features)  # [B, L] int64 each
    masked, labels = mask_tokens(ids, run.processor.tokenizer, run.config.mask_probability, random)
    paddle.seed(int(random.integers(2**31)))
    run.model.train()
    masked, token_types, ids, labels = map(paddle.to_tensor, (masked, token_types, ids, labels))
    gen_logits, disc_logits, disc_labels, mask = run.model(
        masked, token_types, raw_input_ids=ids, gen_labels=labels
    )
    generator = run.criterion.generator_loss(gen_logits, labels)
    discriminator = run.criterion.discriminator_loss(disc_logits, disc_labels, mask)
    loss = run.criterion.gen_weight * generator + run.criterion.disc_weight * discriminator
    if not math.isfinite(float(loss)):
        raise UserError(
            "not-finite",
            f"the loss became {float(loss)} in step {update.step}: give a lower --learning_rate "
            "or a longer warm-up; --resume continues from the last saved state",
        )
    loss.backward()
    run.optimizer.step()
    run.optimizer.clear_grad()
    run.schedule.step()
    run.step = update.step
    return float(generator), float(discriminator)


def mask_tokens(
    ids: np.ndarray, tokenizer: ConvBertTokenizer, probability: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the words that the generator must predict: a share of each row, at least one.

    Returns the masked ids and the labels, -100 where not chosen; all [B, L] int64. Special tokens
    are never chosen.
    """
    words = ~np.isin(ids, tokenizer.all_special_ids)
    order = np.where(words, random.random(ids.shape), np.inf).argsort(axis=1).argsort(axis=1)
    counts = np.maximum(1, np.round(probability * words.sum(axis=1))).astype(int)
    chosen = (order < counts[:, None]) & words
    hidden = chosen & (random.random(ids.shape) < MASK_TOKEN_SHARE)
    masked = np.where(hidden, tokenizer.mask_token_id, ids)
    return masked, np.where(chosen, ids, IGNORED)


if __name__ == "__main__":
    run_main(main)
