"""Options of the stress tests (known only when a file of this folder is named), and commands."""

import random
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


OUT = "@OUT@"  # in a command line: the folder of the products


@dataclass
class Command:
    """A command line, and ``products``: what it writes into `OUT`."""

    words: list
    products: tuple[str, ...]
    resume: tuple[str, list[str], list[str]] = ("", [], [])
    compared: bool = True  # the end result has the same bytes each time
    quick: bool = False  # also in CI

    def argv(self, out: Path) -> list[str]:
        """The command line for a folder."""
        return [str(word).replace(OUT, str(out)) for word in self.words]


@pytest.fixture
def commands(tmp_path, tiny_checkpoint, tiny_export, tiny_vocab):
    """The commands by name; `resume`: a pattern, flags if a path matches it, flags if none does."""
    data = write_sst2(tmp_path / "data")
    texts, table, dev = (tmp_path / name for name in ("texts.txt", "table.tsv", "dev.tsv"))
    texts.write_text("a good film .\nthe plot is bad\n" * 2000)
    table.write_text("sentence\n" + texts.read_text())
    dev.write_text("sentence\tlabel\nbad\t0\n")
    train = tiny_flags(tiny_checkpoint, data, OUT, max_steps=200, save_steps=20, logging_steps=20)
    pretrain = [word for name, value in PRETRAIN.items() for word in (f"--{name}", value)]
    pretrain += ["--input_file", texts, "--vocab_file", tiny_vocab, "--output_dir", OUT]
    serving = ["--serving_server", f"{OUT}/server", "--serving_client", f"{OUT}/client"]
    export, exported = ["--model_path", tiny_checkpoint], ["--model_dir", tiny_export]
    export += ["--save_inference_dir", f"{OUT}/infer"]
    quantize = [*exported, "--calib_file", texts, "--dev_file", dev, "--max_drop", 100]
    quantize += ["--save_inference_dir", f"{OUT}/int8"]
    infer = [*exported, "--input_file", texts, "--output_file", f"{OUT}/labels.jsonl"]
    score = [*exported, "--input_file", table, "--output_file", f"{OUT}/scored.tsv"]
    score += ["--rows_per_part", 500]
    quickstart = ["--device", "cpu", "--output_dir", OUT]
    return {
        "train": Command(
            ["train.py", *train],
            ("best.pdparams",),
            ("states/step-*", ["--resume"], ["--overwrite"]),
        ),
        "export": Command(["tools/export_model.py", *export], ("infer",), quick=True),
        "convert": Command(
            ["tools/export_serving_model.py", "--dirname", tiny_export, *serving],
            ("server", "client"),
            quick=True,
        ),
        "quantize": Command(["tools/quantize_model.py", *quantize], ("int8",)),
        "pretrain": Command(["pretrain.py", *pretrain], ("last",), ("last", ["--resume"], [])),
        "infer": Command(["deploy/inference_python/infer.py", *infer], ("labels.jsonl",)),
        "score": Command(
            ["tools/score.py", *score], ("scored.tsv",), ("scored.tsv", ["--overwrite"], [])
        ),
        "quickstart": Command(["tools/quickstart.py", *quickstart], (), compared=False),
    }
