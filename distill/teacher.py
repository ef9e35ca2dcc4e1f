"""Fine-tune a teacher on SST-2's training rows and measure it on the held-out sentences.

Example: python distill/teacher.py --encoder teachers/mpnet --data_dir data/SST-2 --output_dir
runs/teacher --learning_rate 3e-5 --steps 1000

The output folder gets ``state.pt`` (everything that --resume needs, replaced at each save),
``log.txt``, and at the end the fine-tuned model in transformers' format and ``metrics.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from convbert.training.data import BatchSampler
from distill.data import Rows, hold_out, read_rows
from distill.torch_classifier import Encoder, accuracy, load_classifier, predict_logits

WARMUP = 0.06  # share of the steps
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="transformers folder of the encoder")
    parser.add_argument("--data_dir", required=True, help="folder with SST-2's train.tsv")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--learning_rate", type=float, default=3e-5)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps in all")
    parser.add_argument(
        "--frozen_layers",
        type=int,
        default=0,
        help="this many of the lowest layers keep their weights, as the embeddings always do",
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--save_steps", type=int, default=100)
    parser.add_argument("--eval_steps", type=int, default=400)
    parser.add_argument("--log_steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="matrix products in bfloat16: faster on processors with AVX512_BF16 or AMX",
    )
    parser.add_argument("--resume", action="store_true", help="go on from output_dir/state.pt")
    return parser.parse_args()


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to zero at ``steps``."""
    warmup = max(1, round(steps * WARMUP))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def build_optimizer(model: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms, which are the parameters of one dimension."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


class Run:
    """A fine-tuning run: model, optimizer, the order of batches, and its files."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder = Path(args.output_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        self.encoder = Encoder(args.encoder)
        self.model = load_classifier(args.encoder)
        body = self.model.base_model
        for part in [body.embeddings, *body.encoder.layer[: args.frozen_layers]]:
            part.requires_grad_(False)
        self.optimizer = build_optimizer(self.model, args.learning_rate)
        self.step = 0
        self.seconds = 0.0
        self.best: tuple[float, int] = (0.0, 0)

    def log(self, line: str) -> None:
        print(line, flush=True)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def save(self) -> None:
        """Replace ``state.pt`` in one move, so that a kill never leaves half a file."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
            "args": vars(self.args),
        }
        torch.save(state, self.folder / "state.pt.part")
        os.replace(self.folder / "state.pt.part", self.folder / "state.pt")

    def load(self) -> None:
        state = torch.load(self.folder / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["random"])

    def batches(self, ids: list[list[int]]) -> list[list[int]]:
        """The batches of all the steps; a function of the seed alone, so a resumed run agrees."""
        sampler = BatchSampler(
            len(ids), self.args.batch_size, self.args.seed, [len(row) for row in ids]
        )
        epochs = math.ceil(self.args.steps / len(sampler))
        return [batch for epoch in range(epochs) for batch in sampler.epoch(epoch)]

    def train_step(self, ids: list[list[int]], labels: list[int]) -> float:
        """One update; returns the loss of the batch."""
        factor = learning_rate_factor(self.step, self.args.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.learning_rate * factor
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            logits = self.model(**self.encoder.pad(ids)).logits  # [B, 2]
        loss = nn.functional.cross_entropy(logits.float(), torch.tensor(labels))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        return float(loss.detach())

    def evaluate(self, rows: Rows) -> float:
        logits = predict_logits(self.model, self.encoder, self.encoder(rows.texts))
        return accuracy(logits, rows.labels)


def fit(run: Run, train: Rows, held_out: Rows) -> None:
    """The training loop, from ``run.step`` to the last step."""
    args = run.args
    ids = run.encoder(train.texts)
    batches = run.batches(ids)
    run.model.train()
    losses: list[float] = []
    while run.step < args.steps:
        start, rows = time.perf_counter(), batches[run.step]
        losses.append(run.train_step([ids[r] for r in rows], [train.labels[r] for r in rows]))
        run.step += 1
        run.seconds += time.perf_counter() - start
        if run.step % args.log_steps == 0:
            run.log(
                f"step {run.step}/{args.steps} loss {sum(losses) / len(losses):.4f} "
                f"seconds {run.seconds:.0f}"
            )
            losses.clear()
        if run.step % args.save_steps == 0:
            run.save()
        if run.step % args.eval_steps == 0 and run.step < args.steps:
            run.log(f"step {run.step} held-out accuracy {run.evaluate(held_out):.4f}")


def finish(run: Run, held_out: Rows, training_rows: int) -> None:
    """Save the model in transformers' format with its held-out accuracy."""
    run.save()
    run.model.save_pretrained(run.folder)
    run.encoder.tokenizer.save_pretrained(run.folder)
    metrics = {
        "held_out_accuracy": run.evaluate(held_out),
        "held_out_sentences": len(held_out),
        "training_rows": training_rows,
        "seconds": round(run.seconds, 1),
        "args": vars(run.args),
    }
    (run.folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    run.log(f"held-out accuracy {metrics['held_out_accuracy']:.4f} after {run.step} steps")


def take(rows: Rows, indices: list[int]) -> Rows:
    return Rows([rows.texts[i] for i in indices], [rows.labels[i] for i in indices])


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = read_rows(Path(args.data_dir) / "train.tsv")
    held_out_rows, training_rows = hold_out(rows.texts)
    held_out, train = take(rows, held_out_rows), take(rows, training_rows)
    run = Run(args)
    if args.resume:
        run.load()
    run.log(f"{len(train)} training rows, {len(held_out)} held-out sentences, from step {run.step}")
    fit(run, train, held_out)
    finish(run, held_out, len(train))


if __name__ == "__main__":
    main()
