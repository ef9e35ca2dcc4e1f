r"""Store a fine-tuned teacher's logits for the texts of GLUE files.

    python distill/teacher_logits.py --teacher runs/teacher --input_file SST-2/train.tsv \
        --output_file distill/sst2_logits.npz

Progress is kept in ``OUTPUT_FILE.part.npz``: the same command goes on after an interruption. It
prints the accuracy where the file has labels. Runs in the environment of the teacher.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main
from convbert.training.teacher_logits import write_teacher_logits
from distill.data import Rows, read_rows
from distill.torch_classifier import Encoder, accuracy, load_classifier, predict_logits
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.products import sha256

TEACHER_SETTINGS = ("learning_rate", "batch_size", "steps", "frozen_layers", "seed")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--teacher", required=True, help="folder that teacher.py wrote")
    parser.add_argument(
        "--input_file",
        action="append",
        required=True,
        help="TSV file with a column 'sentence'; of a further one only the texts that are new",
    )
    parser.add_argument("--output_file", required=True, help="the .npz file to write")
    parser.add_argument("--rows_at_once", type=int_at_least(1), default=2048, help="between saves")
    parser.add_argument("--bf16", action="store_true", help="as teacher.py's")
    parser.add_argument("--threads", type=int_at_least(1), default=2)
    return parser.parse_args(argv)


def predict_in_parts(
    model, encoder: Encoder, texts: list[str], part_file: Path, rows_at_once: int, bf16: bool
) -> np.ndarray:
    """Logits [T, C] of texts, in parts of ``rows_at_once``; finished parts are in ``part_file``."""
    done = np.zeros([0, model.config.num_labels], np.float32)
    if part_file.exists():
        with np.load(part_file) as saved:
            done = saved["logits"]
    while len(done) < len(texts):
        part = texts[len(done) : len(done) + rows_at_once]
        done = np.concatenate([done, predict_logits(model, encoder, encoder(part), bf16)])
        with atomic_write(part_file, "wb") as file:
            np.savez(file, logits=done)
        print(f"{len(done)} of {len(texts)} texts", flush=True)
    return done


def new_texts(paths: Sequence[str]) -> list[tuple[str, Rows]]:
    """The rows of each file without the texts of the files before it."""
    found, seen = [], set()
    for path in paths:
        rows = read_rows(path)
        new = [row for row, text in enumerate(rows.texts) if text not in seen]
        seen.update(rows.texts)
        chosen = Rows([rows.texts[row] for row in new], [rows.labels[row] for row in new])
        found.append((path, chosen))
    return found


def teacher_facts(metrics_file: Path) -> dict:
    """What teacher.py recorded about accuracy and settings; no paths of the machine it ran on."""
    if not metrics_file.exists():
        return {}
    metrics = read_json(str(metrics_file))
    results = {name: metrics[name] for name in ("held_out_accuracy", "held_out_sentences")}
    settings = metrics["args"]
    return {**results, **{name: settings[name] for name in TEACHER_SETTINGS}}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if not os.path.isdir(args.teacher):
        raise UserError("file-missing", f"--teacher {args.teacher} is not a directory")
    files = new_texts(args.input_file)
    texts = [text for _, rows in files for text in rows.texts]
    model, encoder = load_classifier(args.teacher), Encoder(args.teacher)
    part_file = Path(f"{args.output_file}.part.npz")
    logits = predict_in_parts(model, encoder, texts, part_file, args.rows_at_once, args.bf16)
    inputs, first = [], 0
    for path, rows in files:
        inputs.append({"sha256": sha256(path), "new_texts": len(rows)})
        labelled = [row for row, label in enumerate(rows.labels) if label >= 0]
        if labelled:
            own = logits[first : first + len(rows)]
            share = accuracy(own[labelled], [rows.labels[row] for row in labelled])
            inputs[-1]["accuracy"] = share
            print(f"{path}: accuracy {share:.4f} of {len(labelled)} rows")
        first += len(rows)
    made_from = {
        "inputs": inputs,
        "teacher_sha256": sha256(Path(args.teacher) / "model.safetensors"),
        "teacher": teacher_facts(Path(args.teacher) / "metrics.json"),
    }
    write_teacher_logits(args.output_file, texts, logits, made_from)
    part_file.unlink()


if __name__ == "__main__":
    run_main(main)
