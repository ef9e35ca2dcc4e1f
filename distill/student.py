r"""Make a small ConvBERT from a BERT and train it to reproduce the BERT's hidden states.

    python distill/student.py --teacher teachers/minilm --data_dir runs/sst2-held-out \
        --input_file runs/sst2-reviews-42/reviews.txt --output_dir runs/convbert-mini

No labels are used. The output is a checkpoint for train.py's --model_name_or_path.
"""

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import THREADS, int_at_least, make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from convbert.text.processing import TextProcessor
from convbert.training.data import BatchSampler, EncodedSplit, encode_split
from convbert.training.tasks import Examples
from distill.data import read_sst2
from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.utils.lines import read_lines
from paddlenlp.utils.products import product_directory

SEED = 42
FIT_TEXTS = 6000  # for the first weights of the layers
BATCH_SIZE = 32
LEARNING_RATE = 5e-4
WARMUP = 0.05  # share of the steps
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
LOGGING_STEPS = 50


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, heading="training")
    parser.add_argument("--teacher", required=True, help="transformers folder of a BERT")
    parser.add_argument("--data_dir", required=True, help="folder with SST-2's train.tsv")
    parser.add_argument("--input_file", required=True, help="further texts, one per line")
    parser.add_argument("--output_dir", required=True, help="checkpoint to write")
    parser.add_argument("--max_steps", type=int_at_least(1), default=1800, help="optimizer steps")
    parser.add_argument("--cpu_threads", type=THREADS, help="threads (default: all cores)")
    args = parser.parse_args(argv)
    start_paddle(args.cpu_threads, training=True)
    from distill.bert import read_bert
    from distill.first_weights import (
        batches_of_equal_length,
        first_student,
        fit_embeddings,
    )

    teacher, tokenizer = read_bert(args.teacher), ConvBertTokenizer.from_pretrained(args.teacher)
    texts = read_sst2(args.data_dir, "train").texts
    sample = random.Random(SEED).sample(range(len(texts)), min(FIT_TEXTS, len(texts)))
    texts += [line for _, line in read_lines(args.input_file) if line.strip()]
    unlabelled = Examples(texts, [0] * len(texts))
    split = encode_split("train", unlabelled, TextProcessor(tokenizer), regression=False)
    student = first_student(teacher, batches_of_equal_length(split, sample))
    fit_embeddings(teacher, student, SEED)
    print(f"parameters: {sum(parameter.size for parameter in student.parameters())}")
    train(student, teacher, split, args.max_steps)
    with product_directory(args.output_dir, "checkpoint", [args.teacher, args.data_dir]) as work:
        student.save_pretrained(str(work))
        tokenizer.save_pretrained(work)


def train(student, teacher, split: EncodedSplit, steps: int) -> None:
    """Do the optimizer steps, and print the mean loss now and then."""
    import paddle

    from convbert.training.optimizer import make_optimizer
    from paddlenlp.transformers import LinearDecayWithWarmup

    schedule = LinearDecayWithWarmup(LEARNING_RATE, steps, WARMUP)
    optimizer = make_optimizer(
        student,
        schedule,
        student.config.num_hidden_layers,
        layer_lr_decay=1.0,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
    )
    sampler = BatchSampler(len(split), BATCH_SIZE, SEED, split.lengths)
    print(f"{len(split)} texts, {len(sampler)} steps an epoch", flush=True)
    student.eval()  # it only imitates and cannot overfit, so dropout would just add noise
    losses, started = [], time.perf_counter()
    for update in sampler.updates(0, steps):
        step, (indices,) = update.step, update.batches
        ids, types, _ = map(paddle.to_tensor, split.batch(indices))  # [B, L]
        with hold_signals():
            wanted = teacher(ids, types, output_hidden_states=True)[1]
            states = student(ids, types, output_hidden_states=True)[1]
            mask = (ids != student.config.pad_token_id).astype("float32")
            loss = hidden_loss(states, wanted, mask)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.clear_grad(set_to_zero=False)
        losses.append(float(loss))
        if step % LOGGING_STEPS == 0 or step == steps:
            seconds = time.perf_counter() - started
            mean = sum(losses) / len(losses)
            print(f"step {step}/{steps} loss {mean:.4f} seconds {seconds:.0f}", flush=True)
            losses.clear()


def hidden_loss(states: Sequence, teacher_states: Sequence, mask):
    """Sum over the layers of the mean squared difference at real tokens.

    Args:
        states, teacher_states: as many tensors [B, L, H] each (batch, length, hidden size).
        mask: [B, L] float, 1 at real tokens and 0 at padding.
    """
    import paddle

    share = mask / mask.sum()
    errors = [
        (((ours - theirs) ** 2).mean(axis=-1) * share).sum()
        for ours, theirs in zip(states, teacher_states, strict=True)
    ]
    return paddle.add_n(errors)


if __name__ == "__main__":
    run_main(main)
