"""Options of the stress tests (known only when a file of this folder is named), and commands."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.training import PRETRAINED, tiny_flags, write_sst2

PRETRAIN = {**PRETRAINED, "max_steps": 60, "save_steps": 5}
# Option: what it counts, and its value in CI. 0 kills: one for each of the quick commands only.
AMOUNTS = {
    "kills": ("kill -9 for each command", 0),
    "messages": ("hostile messages over HTTP, and as many over gRPC", 60),
    "seconds": ("seconds of load", 4),
    "seed": ("of all random choices", 0),
}


def pytest_addoption(parser):
    """Add one option for each amount."""
    for name, (description, value) in AMOUNTS.items():
        parser.addoption(f"--{name}", type=int, default=value, help=description)


@pytest.fixture
def amount(request):
    """Return ``amount(name)``: the value of an option."""
    return lambda name: request.config.getoption(f"--{name}", AMOUNTS[name][1])


@pytest.fixture
def rng(amount):
    """Random numbers of the seed."""
    return random.Random(amount("seed"))


@dataclass
class Command:
    """``argv(out)`` is the command line, ``products`` what it writes into out."""

    argv: Callable[[Path], list]
    products: tuple[str, ...]
    resume: tuple[str, list[str], list[str]] = ("", [], [])
    compared: bool = True  # the end result has the same bytes each time
    quick: bool = False  # also in CI


@pytest.fixture
def commands(tmp_path, tiny_checkpoint, tiny_export, tiny_vocab):
    """The commands by name; `resume`: a pattern, flags if a path matches it, flags if none does."""
    data = write_sst2(tmp_path / "data")
    texts = tmp_path / "texts.txt"
    texts.write_text("a good film .\nthe plot is bad\n" * 2000)
    table = tmp_path / "table.tsv"
    table.write_text("sentence\n" + texts.read_text())
    dev = tmp_path / "dev.tsv"
    dev.write_text("sentence\tlabel\nbad\t0\n")
    train = {"max_steps": 200, "save_steps": 20, "logging_steps": 20}
    pretrain = [word for name, value in PRETRAIN.items() for word in (f"--{name}", value)]
    corpus = ["--input_file", texts, "--vocab_file", tiny_vocab]
    return {
        "train": Command(
            lambda out: ["train.py", *tiny_flags(tiny_checkpoint, data, out, **train)],
            ("best.pdparams",),
            ("states/step-*", ["--resume"], ["--overwrite"]),
        ),
        "export": Command(
            lambda out: (
                ["tools/export_model.py", "--model_path", tiny_checkpoint]
                + ["--save_inference_dir", out / "infer"]
            ),
            ("infer",),
            quick=True,
        ),
        "convert": Command(
            lambda out: (
                ["tools/export_serving_model.py", "--dirname", tiny_export]
                + ["--serving_server", out / "server", "--serving_client", out / "client"]
            ),
            ("server", "client"),
            quick=True,
        ),
        "quantize": Command(
            lambda out: (
                ["tools/quantize_model.py", "--model_dir", tiny_export, "--calib_file", texts]
                + ["--dev_file", dev, "--max_drop", 100, "--save_inference_dir", out / "int8"]
            ),
            ("int8",),
        ),
        "pretrain": Command(
            lambda out: ["pretrain.py", *pretrain, *corpus, "--output_dir", out],
            ("last",),
            ("last", ["--resume"], []),
        ),
        "infer": Command(
            lambda out: (
                ["deploy/inference_python/infer.py", "--model_dir", tiny_export]
                + ["--input_file", texts, "--output_file", out / "labels.jsonl"]
            ),
            ("labels.jsonl",),
        ),
        "score": Command(
            lambda out: (
                ["tools/score.py", "--model_dir", tiny_export, "--input_file", table]
                + ["--output_file", out / "scored.tsv", "--rows_per_part", 500]
            ),
            ("scored.tsv",),
            ("scored.tsv", ["--overwrite"], []),
        ),
        "quickstart": Command(
            lambda out: ["tools/quickstart.py", "--device", "cpu", "--output_dir", out],
            (),
            compared=False,
        ),
    }
