"""What the tests of training share: tiny data in the official format, and a tiny run."""

import json
from pathlib import Path

# The sizes of a tiny model in the flags of pretrain.py.
PRETRAINED = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "embedding_size": 8,
    "generator_share": 2,
    "batch_size": 8,
    "device": "cpu",
}
GOOD = ("a great film .", "the story is fine", "good acting and a great plot", "i like it , good")
BAD = ("a dull film .", "the story is awful", "bad acting and a dull plot", "it was bad , awful")
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "glue"


def write_sst2(directory: Path, train: int = 40, dev: int = 20) -> Path:
    """Write a learnable SST-2 of ``train`` and ``dev`` rows into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("dev", dev)):
        rows = [
            f"{(BAD, GOOD)[i % 2][i // 2 % 4]}{' very' * (i % 5)}\t{i % 2}" for i in range(count)
        ]
        (directory / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return directory


def with_padding_last(vocab: Path, target: Path) -> Path:
    """Write a copy of a vocabulary with its first word, the padding, at the end."""
    first, *words = vocab.read_text().split()
    target.write_text("\n".join([*words, first]) + "\n")
    return target


def tiny_flags(checkpoint: Path, data: Path, output: Path, **flags) -> list[str]:
    """Command line of a run with random weights of ``checkpoint``'s size; None drops a flag."""
    values = {
        "data_dir": data,
        "output_dir": output,
        "model_name_or_path": checkpoint,
        "from_scratch": True,
        "device": "cpu",
        "max_seq_length": 32,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "layer_lr_decay": 1.0,
        "max_steps": 4,
        "logging_steps": 2,
        "save_steps": 2,
        **flags,
    }
    return [word for k, v in values.items() if v is not None for word in (f"--{k}", str(v))]


def read_log(output_dir: Path, kind: str) -> list[dict]:
    """The records of one kind ("train" or "eval") in metrics.jsonl."""
    lines = (Path(output_dir) / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def read_summary(output_dir: Path) -> dict:
    """metrics.json."""
    return json.loads((Path(output_dir) / "metrics.json").read_text())
