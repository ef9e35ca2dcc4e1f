r"""Fine-tune a teacher on SST-2, then store its logits for texts (needs torch).

    python distill/teacher.py --encoder teachers/mpnet --data_dir runs/sst2-held-out \
        --input_dir SST-2 runs/sst2-reviews-42 runs/sst2-reviews-43 --bf16 \
        --output_dir runs/teacher --output_file distill/sst2_logits.npz

The output folder gets ``state.pt`` (everything that --resume needs, replaced at each save), the
logits found so far, and the fine-tuned model in transformers' format.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from convbert.command.flags import float_in, int_at_least, make_parser
from convbert.command.start import run_main
from convbert.text.processing import length_sorted_batches
from convbert.training.data import BatchSampler
from convbert.training.tasks import Examples
from convbert.training.teacher import write_teacher_logits
from distill.data import read_sst2
from paddlenlp.utils.files import atomic_write, ensure_writable_dir
from paddlenlp.utils.products import sha256

MAX_TOKENS = 128
SEED = 42
BATCH_SIZE = 32
WARMUP = 0.06  # share of the steps
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
LOGGING_STEPS = 20
SAVE_STEPS = 100
TEXTS_AT_ONCE = 2048  # between saves of the logits
STATE_FILE, LOGITS_FILE = "state.pt", "logits.npy"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="training")
    add = parser.add_argument
    add("--encoder", required=True, help="transformers folder of the encoder")
    add("--data_dir", required=True, help="the folder sst2-held-out written by data.py")
    add("--input_dir", nargs="+", required=True, help="folders whose train.tsv gets logits")
    add("--output_dir", required=True, help="folder of the state and the fine-tuned model")
    add("--output_file", required=True, help="the .npz file of logits to write")
    add("--learning_rate", type=float_in(0, 1), default=3e-5)
    add("--steps", type=int_at_least(1), default=1850, help="total number of optimizer steps")
    add("--frozen_layers", type=int_at_least(0), default=4, help="lowest layers not to train")
    add("--bf16", action="store_true", help="for processors with AVX512_BF16 or AMX")
    add("--resume", action="store_true", help="continue from the state in --output_dir")
    return parser.parse_args(argv)


class Teacher:
    """A classifier of two classes and its tokenizer."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts."""
        return self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]

    def logits(self, ids: Sequence[list[int]], bf16: bool) -> torch.Tensor:
        """Logits [B, 2] float32 of token ids; with ``bf16`` the matrix products are bfloat16."""
        inputs = self.tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return self.model(**inputs).logits.float()

    @torch.inference_mode()
    def predict(self, texts: Sequence[str], bf16: bool = False) -> np.ndarray:
        """Logits [texts, 2] float32, in the order of the texts."""
        self.model.eval()
        ids = self.encode(texts)
        logits = np.zeros([len(ids), 2], np.float32)
        for batch in length_sorted_batches([len(row) for row in ids], BATCH_SIZE):
            logits[batch] = self.logits([ids[row] for row in batch], bf16).numpy()
        return logits


def fine_tune(teacher: Teacher, args: argparse.Namespace) -> None:
    """Train to the last step, from the saved state with --resume."""
    model, state_file = teacher.model, Path(args.output_dir) / STATE_FILE
    optimizer = build_optimizer(model, args.frozen_layers)
    done = load_state(state_file, model, optimizer) if args.resume else 0
    texts, labels = read_sst2(args.data_dir, "train")
    ids = teacher.encode(texts)
    # The order depends only on the seed, so a resumed run agrees with an uninterrupted one.
    sampler = BatchSampler(len(ids), BATCH_SIZE, SEED, [len(row) for row in ids])
    model.train()
    losses, started = [], time.perf_counter()
    for update in sampler.updates(done, args.steps):
        step, (rows,) = update.step, update.batches
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * learning_rate_factor(step, args.steps)
        logits = teacher.logits([ids[row] for row in rows], args.bf16)
        wanted = torch.tensor([labels[row] for row in rows])
        loss = nn.functional.cross_entropy(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % LOGGING_STEPS == 0:
            mean, seconds = sum(losses) / len(losses), time.perf_counter() - started
            print(f"step {step}/{args.steps} loss {mean:.4f} seconds {seconds:.0f}", flush=True)
            losses.clear()
        if step % SAVE_STEPS == 0 or step == args.steps:
            save_state(state_file, model, optimizer, step)


def build_optimizer(model: PreTrainedModel, frozen_layers: int) -> torch.optim.AdamW:
    """AdamW for all but the embeddings and the lowest layers; biases and norms do not decay."""
    encoder = model.base_model
    for part in [encoder.embeddings, *encoder.encoder.layer[:frozen_layers]]:
        part.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, fused=True)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay; ``step`` counts from 1."""
    warmup = max(1, round(steps * WARMUP))
    return min(step / warmup, (steps - step + 1) / max(1, steps - warmup))


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the state atomically, so that a kill never leaves an incomplete file."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "random": torch.get_rng_state(),
    }
    with atomic_write(path, "wb") as file:
        torch.save(state, file)


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore a state; return its step."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return state["step"]


def store_logits(teacher: Teacher, args: argparse.Namespace, facts: dict) -> None:
    """Write the logits for each train.tsv; of a further one only for the texts that are new."""
    seen: set[str] = set()
    parts = []
    for directory in args.input_dir:
        texts, labels = read_sst2(directory, "train")
        new = [row for row, text in enumerate(texts) if text not in seen]
        seen.update(texts)
        parts.append(Examples([texts[row] for row in new], [labels[row] for row in new]))
    texts = [text for part in parts for text in part.texts]
    part_file = Path(args.output_dir) / LOGITS_FILE
    logits = predict_in_parts(teacher, texts, part_file, args)
    inputs, ends = [], np.cumsum([len(part.texts) for part in parts])
    for directory, part, own in zip(args.input_dir, parts, np.split(logits, ends[:-1])):
        path, share = Path(directory) / "train.tsv", accuracy(own, part.labels)
        inputs.append({"sha256": sha256(path), "new_texts": len(own), "accuracy": share})
        print(f"{path}: accuracy {share:.4f} of {len(own)} rows")
    made_from = {
        "inputs": inputs,
        "teacher_sha256": sha256(Path(args.output_dir) / "model.safetensors"),
        "teacher": facts,
    }
    write_teacher_logits(args.output_file, texts, logits, made_from)
    part_file.unlink()


def predict_in_parts(
    teacher: Teacher, texts: Sequence[str], part_file: Path, args: argparse.Namespace
) -> np.ndarray:
    """Logits [T, 2] of texts; those of finished parts are saved in a file."""
    logits = np.zeros([0, 2], np.float32)
    if args.resume and part_file.exists():
        logits = np.load(part_file)
    while len(logits) < len(texts):
        part = texts[len(logits) : len(logits) + TEXTS_AT_ONCE]
        logits = np.concatenate([logits, teacher.predict(part, args.bf16)])
        with atomic_write(part_file, "wb") as file:
            np.save(file, logits)
        print(f"{len(logits)} of {len(texts)} texts", flush=True)
    return logits


def accuracy(logits: np.ndarray, labels: Sequence[int]) -> float:
    """Share of rows whose largest logit is at the label."""
    return float(np.mean(logits.argmax(axis=1) == np.asarray(labels)))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    folder = ensure_writable_dir(args.output_dir)
    torch.manual_seed(SEED)
    teacher = Teacher(args.encoder)
    fine_tune(teacher, args)
    teacher.model.save_pretrained(folder)
    teacher.tokenizer.save_pretrained(folder)
    texts, labels = read_sst2(args.data_dir, "dev")
    share = accuracy(teacher.predict(texts), labels)
    print(f"held-out accuracy {share:.4f} after {args.steps} steps", flush=True)
    facts = {
        "held_out_accuracy": share,
        "held_out_sentences": len(texts),
        "learning_rate": args.learning_rate,
        "batch_size": BATCH_SIZE,
        "steps": args.steps,
        "frozen_layers": args.frozen_layers,
        "seed": SEED,
    }
    store_logits(teacher, args, facts)


if __name__ == "__main__":
    run_main(main)
