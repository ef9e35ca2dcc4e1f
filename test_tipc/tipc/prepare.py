"""Data and models for the configurations, under test_tipc/data/<model_name>.

lite/, whole/   train.tsv, dev.tsv in the format of GLUE SST-2, texts.txt (sentences of dev)
init/           the checkpoint that training starts from
reference/      a checkpoint with fixed weights, the same on every machine: its answers are recorded
trained/        a fine-tuned checkpoint, and its export in convbert_infer/
manifest.json   what each part was made from, and the SHA-256 of every file
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convbert.command.flags import add_bool_flag, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import exit_on_sigterm
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_directory, atomic_write
from tipc.config import read_config
from tipc.needs import SETUP, missing_packages
from tipc.records import MANIFEST_FILE, file_hashes, read_manifest
from tipc.slots import MODES, ROOT, TRAIN_MODES

EMBEDDED = ROOT / "data" / "reviews"
LITE_ROWS = {"train": 64, "dev": 32}
REFERENCE_SEED = 2008
Splits = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True)
class Recipe:
    """How the parts of one model name are made.

    Attributes:
        preset: published model whose weights, or at least whose size, are used.
        download: whether SST-2 and the weights are fetched; else the embedded data and a tiny size.
        shape: sizes that replace the preset's.
        training: flags of train.py for ``trained``; none: it has to be given.
    """

    preset: str
    download: bool
    shape: dict[str, int]
    training: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "ConvBERT": Recipe("convbert-base", True, {}),
    "ConvBERT-tiny": Recipe(
        "convbert-small",
        False,
        {
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "embedding_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": 128,
        },
        (
            "--batch_size=16",
            "--learning_rate=2e-3",
            "--layer_lr_decay=1",
            "--max_steps=360",
            "--save_steps=60",
            "--logging_steps=60",
            "--group_by_length",
            "--device=cpu",
        ),
    ),
}
PARTS_OF_MODE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(TRAIN_MODES, ("lite", "whole", "init")),
    "benchmark_train": ("lite", "whole", "init"),
    "whole_infer": ("lite", "whole", "init", "trained", "reference"),
    "klquant_whole_infer": ("lite", "whole", "init", "trained"),
    "serving_infer": ("lite", "whole", "init", "trained"),
    "paddle2onnx_infer": ("lite", "whole", "init", "trained"),
}


def main(argv=None) -> int:
    """Prepare what a configuration needs in a mode; parts that are there already are kept."""
    parser = make_parser("Get the data and models that a TIPC configuration needs in a mode.")
    add = parser.add_argument
    add("config")
    add("mode", choices=list(PARTS_OF_MODE))
    add("--data_dir", help="folder with train.tsv and dev.tsv of SST-2")
    add("--model_dir", help="checkpoint to start training from")
    add("--trained_dir", help="fine-tuned checkpoint (best.pdparams)")
    add_bool_flag(parser, "--force", False, "make parts again that are there already")
    args = parser.parse_args(argv)
    kind = next(kind for kind, modes in MODES.items() if args.mode in modes)
    name = read_config(args.config, kind, args.mode).value("model_name")
    if name not in RECIPES:
        raise UserError(
            "tipc", f"{args.config}: no recipe for model_name {name}, only {list(RECIPES)}"
        )
    if missing_packages(sys.executable, ["paddle"]):
        raise UserError("environment", f"{sys.executable} has no paddle: run {SETUP}")
    set_cpu_environment()
    exit_on_sigterm()  # subprocess.call then stops the training it waits for
    Preparation(name, args).run(PARTS_OF_MODE[args.mode])
    return 0


class Preparation:
    """One folder below test_tipc/data, made part by part under a lock."""

    def __init__(self, name: str, args):
        self.recipe, self.args = RECIPES[name], args
        self.folder = ROOT / "test_tipc" / "data" / name
        self.sources: dict[str, str] = {}
        self.splits: Splits | None = None

    def run(self, parts: tuple[str, ...]) -> None:
        """Make the missing parts and write the manifest."""
        import filelock

        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(self.folder.parent / f"{self.folder.name}.lock")):
            before = self._manifest()
            data = self._data_source()
            makers: dict[str, tuple[str, Callable]] = {
                "lite": (data, lambda work: write_data(self.splits, work, LITE_ROWS)),
                "whole": (data, lambda work: write_data(self.splits, work, {})),
                "init": self._init_maker(data),
                "reference": (f"seed {REFERENCE_SEED}", self._make_reference),
                "trained": self._trained_maker(data),
            }
            for part in parts:
                source, make = makers[part]
                self._part(part, source, make, before)
            self._write_manifest(before, parts)

    def _part(self, part: str, source: str, make: Callable, before: dict) -> None:
        target = self.folder / part
        if not self.args.force and before["sources"].get(part) == source:
            known = {k: v for k, v in before["files"].items() if k.startswith(f"{part}/")}
            if known and {f"{part}/{k}": v for k, v in file_hashes(target).items()} == known:
                print(f"{part}: there already ({source})")
                return
        with atomic_directory(target) as work:
            make(Path(work))
        self.sources[part] = source
        print(f"{part}: made ({source})")

    def _manifest(self) -> dict:
        try:
            return read_manifest(self.folder / MANIFEST_FILE)
        except UserError:
            return {"sources": {}, "files": {}}

    def _write_manifest(self, before: dict, parts: tuple[str, ...]) -> None:
        # Only what this call made or found good: other parts may have been changed meanwhile.
        files = {k: v for k, v in before["files"].items() if k.partition("/")[0] not in parts}
        for part in parts:
            hashes = file_hashes(self.folder / part)
            files.update({f"{part}/{name}": digest for name, digest in hashes.items()})
        content = {"sources": {**before["sources"], **self.sources}, "files": files}
        with atomic_write(self.folder / MANIFEST_FILE) as file:
            json.dump(content, file, indent=1)

    def _data_source(self) -> str:
        """Find the data and say where they come from; sets ``splits``."""
        if self.args.data_dir:
            self.splits, name = read_sst2(self.args.data_dir), "given data"
        else:
            self.splits, name = self._downloaded(), "downloaded SST-2"
            if self.splits is None:
                self.splits, name = read_sst2(str(EMBEDDED)), "embedded reviews"
        digest = hashlib.sha256(json.dumps(self.splits).encode()).hexdigest()
        return f"{name}, sha256 {digest[:12]}"

    def _downloaded(self) -> Splits | None:
        if not self.recipe.download:
            return None
        try:
            return read_sst2(None)
        except UserError as error:
            print(f"SST-2 not reached ({error}): going on with the sentences in data/reviews")
            return None

    def _init_maker(self, data: str) -> tuple[str, Callable]:
        if self.args.model_dir:
            return f"copy of {self.args.model_dir}", lambda work: _copy(self.args.model_dir, work)
        if self.recipe.download and _fetch_weights(self.recipe.preset):
            source = f"downloaded {self.recipe.preset}"
            return source, lambda work: save_checkpoint(work, self.recipe.preset)
        return f"random weights, size {self._size()}", self._make_random

    def _size(self) -> str:
        return f"{self.recipe.preset} {json.dumps(self.recipe.shape)}"

    def _make_random(self, work: Path) -> None:
        import paddle

        paddle.seed(42)
        model = self._fresh_model()
        _save(work, model)

    def _make_reference(self, work: Path) -> None:
        """Weights from NumPy's frozen generator: the same numbers on every machine."""
        import numpy as np

        rng = np.random.RandomState(REFERENCE_SEED)
        model = self._fresh_model()
        state = model.state_dict()
        for name in sorted(state):
            noise = rng.standard_normal(state[name].shape).astype("float32")
            scale = name.rpartition(".")[0].endswith(("norm", "norm1", "norm2"))
            one = 1.0 if scale and name.endswith("weight") else 0.0
            state[name].set_value(one + 0.2 * noise)
        _save(work / "best.pdparams", model)

    def _fresh_model(self):
        from paddlenlp.transformers import (
            ConvBertConfig,
            ConvBertForSequenceClassification,
            ConvBertTokenizer,
        )

        tokenizer = ConvBertTokenizer(str(EMBEDDED / "vocab.txt"))
        config = ConvBertConfig.preset(
            self.recipe.preset, vocab_size=tokenizer.vocab_size, **self.recipe.shape
        )
        return ConvBertForSequenceClassification(config)

    def _trained_maker(self, data: str) -> tuple[str, Callable]:
        given = self.args.trained_dir
        if given:
            return f"copy of {given}", lambda work: self._finish_trained(work, given)
        source = f"trained on {data}, size {self._size()}, {' '.join(self.recipe.training)}"
        return source, lambda work: self._finish_trained(work, None)

    def _finish_trained(self, work: Path, given: str | None) -> None:
        best = work / "best.pdparams"
        if given:
            _copy(given, best)
        elif not self.recipe.training:
            raise UserError(
                "command-line",
                "no fine-tuned checkpoint: give --trained_dir best.pdparams of a run",
            )
        else:
            self._train(best)
        export = ["--model_path", str(best), "--save_inference_dir", str(work / "convbert_infer")]
        _python("tools/export_model.py", *export)

    def _train(self, best: Path) -> None:
        with tempfile.TemporaryDirectory(dir=str(self.folder)) as output:
            _python(
                "train.py",
                f"--data_dir={self.folder / 'whole'}",
                f"--model_name_or_path={self.folder / 'init'}",
                f"--output_dir={output}",
                *self.recipe.training,
            )
            (Path(output) / "best.pdparams").rename(best)


def read_sst2(data_dir: str | None) -> Splits:
    """Read ``{split: [(sentence, label), ...]}`` from a folder, or download SST-2 for None."""
    from paddlenlp.datasets import load_dataset

    loaded = zip(("train", "dev"), load_dataset("glue", "sst-2", ["train", "dev"], data_dir))
    return {split: [(row["sentence"], row["labels"]) for row in rows] for split, rows in loaded}


def write_data(splits: Splits, target: Path, limits: dict[str, int]) -> None:
    """Write train.tsv and dev.tsv, their first ``limits`` rows where given, and texts.txt."""
    for split, rows in splits.items():
        rows = rows[: limits.get(split)]
        lines = ["sentence\tlabel\n"] + [f"{text}\t{label}\n" for text, label in rows]
        (target / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    texts = "".join(f"{text}\n" for text, _ in rows)
    (target / "texts.txt").write_text(texts, encoding="utf-8")


def _copy(source: str, target: Path) -> None:
    if not Path(source, "model_state.pdparams").is_file():
        raise UserError(
            "file-missing", f"{source} is no checkpoint directory (no model_state.pdparams)"
        )
    target.mkdir(exist_ok=True)
    for path in Path(source).iterdir():
        if path.is_file():
            shutil.copyfile(str(path), str(target / path.name))


def _save(target: Path, model, tokenizer=None) -> None:
    from paddlenlp.transformers import ConvBertTokenizer

    tokenizer = tokenizer or ConvBertTokenizer(str(EMBEDDED / "vocab.txt"), label_names=["0", "1"])
    target.mkdir(exist_ok=True)
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))


def save_checkpoint(target: Path, name: str) -> None:
    """Write a published model, with a new head, as a checkpoint directory."""
    from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer

    model = ConvBertForSequenceClassification.from_pretrained(name)
    _save(target, model, ConvBertTokenizer.from_pretrained(name))


def _fetch_weights(name: str) -> bool:
    from paddlenlp.utils.hub import pretrained_file

    try:
        for file in ("vocab.txt", "model_state.pdparams"):
            pretrained_file(name, file)
    except UserError as error:
        print(f"{name} not reached ({error}): going on with RANDOM weights of its size")
        return False
    return True


def _python(script: str, *flags: str) -> None:
    print(f"$ python {script} {' '.join(flags)}", flush=True)
    if subprocess.call([sys.executable, str(ROOT / script), *flags]):
        raise UserError("step-failed", f"{script} failed: see the lines above")
