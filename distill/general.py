r"""Train a student to reproduce the hidden states of a frozen BERT: the general student.

    python distill/general.py --teacher teachers/minilm --student runs/student-0 \
        --data_dir SST-2 --output_dir runs/general --max_steps 3700

No labels are used. The texts are SST-2's training rows without the held-out sentences, and the
lines of any --input_file. The output is a checkpoint for train.py's --model_name_or_path.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import float_in, int_at_least, make_parser
from convbert.command.start import hold_signals, run_main, start_paddle
from paddlenlp.utils.products import product_directory

MAX_TOKENS = 128


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="training")
    parser.add_argument("--teacher", required=True, help="folder with config.json and weights")
    parser.add_argument("--student", required=True, help="checkpoint that init_student.py wrote")
    parser.add_argument("--data_dir", required=True, help="folder with SST-2's train.tsv")
    parser.add_argument("--input_file", action="append", default=[], help="texts, one per line")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--batch_size", type=int_at_least(1), default=32)
    parser.add_argument("--learning_rate", type=float_in(0, 1), default=5e-4)
    parser.add_argument("--max_steps", type=int_at_least(1), default=3700)
    parser.add_argument("--warmup_proportion", type=float_in(0, 1), default=0.05)
    parser.add_argument("--weight_decay", type=float_in(0, 1), default=0.01)
    parser.add_argument("--logging_steps", type=int_at_least(1), default=50)
    parser.add_argument("--seed", type=int_at_least(0), default=42)
    parser.add_argument("--cpu_threads", type=int_at_least(1))
    return parser.parse_args(argv)


class GeneralDistillation:
    """The frozen teacher, the student, its optimizer and the texts."""

    def __init__(self, args: argparse.Namespace):
        import paddle

        from convbert.text.processing import TextProcessor
        from convbert.training.data import BatchSampler
        from convbert.training.optimizer import make_optimizer
        from distill.bert import FrozenBert
        from paddlenlp.transformers import ConvBertModel, ConvBertTokenizer, LinearDecayWithWarmup

        paddle.seed(args.seed)
        self.args, self.step = args, 0
        self.teacher = FrozenBert(args.teacher)
        self.student = ConvBertModel.from_pretrained(args.student)
        # A student that only imitates has nothing to overfit to: dropout would just add noise.
        self.student.eval()
        self.tokenizer = ConvBertTokenizer.from_pretrained(args.student)
        self.processor = TextProcessor(self.tokenizer, MAX_TOKENS)
        self.features = self.processor.encode(read_texts(args))
        lengths = [len(feature.input_ids) for feature in self.features]
        self.sampler = BatchSampler(len(lengths), args.batch_size, args.seed, lengths)
        self.schedule = LinearDecayWithWarmup(
            args.learning_rate, args.max_steps, float(args.warmup_proportion)
        )
        self.optimizer = make_optimizer(
            self.student,
            self.schedule,
            self.student.config.num_hidden_layers,
            layer_lr_decay=1.0,
            weight_decay=args.weight_decay,
            max_grad_norm=1.0,
        )

    def batches(self):
        """Yield the batches that are left, epoch after epoch."""
        last = self.args.max_steps
        while self.step < last:
            epoch, first = divmod(self.step, len(self.sampler))
            for indices in list(self.sampler.epoch(epoch))[first:]:
                if self.step == last:
                    return
                yield indices

    def train_step(self, indices: list[int]) -> float:
        """Do one optimizer step; return the loss."""
        import paddle

        from convbert.training.distillation import hidden_loss

        ids, types = self.processor.collate([self.features[index] for index in indices])
        ids, types = paddle.to_tensor(ids), paddle.to_tensor(types)
        wanted = self.teacher.states(ids)
        states = self.student(ids, types, output_hidden_states=True)[1]
        mask = (ids != self.student.config.pad_token_id).astype("float32")
        loss = hidden_loss(states, wanted, mask)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad(set_to_zero=False)
        self.schedule.step()
        self.step += 1
        return float(loss)


def read_texts(args: argparse.Namespace) -> list[str]:
    """SST-2's training rows and the lines of the further files, without empty ones."""
    from distill.data import hold_out, read_rows
    from paddlenlp.utils.lines import read_lines

    texts = read_rows(Path(args.data_dir) / "train.tsv").texts
    found = [texts[row] for row in hold_out(texts)[1]]
    for path in args.input_file:
        found += [line for _, line in read_lines(path) if line.strip()]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    start_paddle(args.cpu_threads, training=True)
    run = GeneralDistillation(args)
    print(
        f"{len(run.features)} texts, {len(run.sampler)} steps an epoch",
        flush=True,
    )
    losses, started = [], time.perf_counter()
    for indices in run.batches():
        with hold_signals():
            losses.append(run.train_step(indices))
        if run.step % args.logging_steps == 0 or run.step == args.max_steps:
            print(
                f"step {run.step}/{args.max_steps} loss {sum(losses) / len(losses):.4f} "
                f"seconds {time.perf_counter() - started:.0f}",
                flush=True,
            )
            losses.clear()
    with product_directory(args.output_dir, "checkpoint", [args.student]) as work:
        run.student.save_pretrained(str(work))
        run.tokenizer.save_pretrained(work)


if __name__ == "__main__":
    run_main(main)
