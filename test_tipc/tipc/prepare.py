"""Data and models for the configurations, under test_tipc/data/<model_name>.

lite/, whole/   train.tsv, dev.tsv in the format of GLUE SST-2, texts.txt (sentences of dev)
init/           the checkpoint that training starts from
trained/        a fine-tuned checkpoint, and its export in convbert_infer/
bundled/        the model that the commands use if none is given; its answers are recorded
teacher/        logits.npz: logits of the bundled model for the training data, for distillation

Each of them has a manifest.json with its source and the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from convbert.command.flags import add_bool_flag, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import exit_on_sigterm, run_step
from convbert.inference.default_model import default_checkpoint
from paddlenlp.utils.checkout import REVIEWS, ROOT
from paddlenlp.utils.download import file_lock
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import DEFAULT_MODEL, bundled_model, pretrained_file
from paddlenlp.utils.products import product_directory, read_manifest, sha256, verify
from tipc.config import PREPARED, Config, read_config
from tipc.environment import SETUP
from tipc.formats import ALL_MODES, INFER_MODES, MODES, TRAIN_MODES
from tipc.train_infer import WEIGHTS_FILE

LITE_ROWS = {"train": 64, "dev": 32}
Splits = dict[str, list[tuple[str, int]]]

TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "embedding_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
}
TINY_TRAINING = (
    "--batch_size=16 --learning_rate=2e-3 --layer_lr_decay=1 --max_steps=360 --save_steps=60 "
    "--logging_steps=60 --group_by_length --device=cpu"
)
# For each model name: the published model of this size, sizes that replace its own, and the flags
# that train it here; without them, data and weights are downloaded.
RECIPES: dict[str, tuple[str, dict[str, int], str]] = {
    "ConvBERT": ("convbert-base", {}, ""),
    "ConvBERT-tiny": ("convbert-small", TINY, TINY_TRAINING),
}


def main(argv=None) -> int:
    """Prepare the parts that a configuration needs in a mode; complete parts are kept."""
    parser = make_parser("Get the data and models that a TIPC configuration needs in a mode.")
    add = parser.add_argument
    add("config")
    add("mode", choices=ALL_MODES)
    add("--data_dir", help="folder with train.tsv and dev.tsv of SST-2")
    add("--model_dir", help="checkpoint to start training from")
    add("--trained_dir", help="fine-tuned checkpoint (best.pdparams)")
    add_bool_flag(parser, "--force", False, "make all parts again")
    args = parser.parse_args(argv)
    kind = next(kind for kind, modes in MODES.items() if args.mode in modes)
    config = read_config(args.config, kind, args.mode)
    name = config.value("model_name")
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise UserError("tipc", f"{args.config}: unknown model_name {name}: give one of {known}")
    if find_spec("paddle") is None:
        raise UserError("environment", f"{sys.executable} does not find paddle: run {SETUP}")
    set_cpu_environment()
    exit_on_sigterm()  # so that run_step stops the training
    Preparation(name, args).run(_needed_parts(config, kind, name))
    return 0


def _needed_parts(config: Config, kind: str, name: str) -> list[str]:
    parts = ["lite", "whole", "init"]
    if config.mode not in (*TRAIN_MODES, *MODES["benchmark"]):
        parts.append("trained")
    if kind == "train_infer":
        distills = "distill_train" in config.values("trainer")
        given = config.values("infer_model") if config.mode in INFER_MODES else []
        if distills or any(f"{name}/bundled" in str(model) for model in given):
            parts.append("bundled")
        parts += ["teacher"] if distills else []
    return parts


class Preparation:
    """One folder below test_tipc/data, made part by part under a lock."""

    def __init__(self, name: str, args):
        self.args, self.folder = args, PREPARED / name
        self.preset, self.shape, self.training = RECIPES[name]

    def run(self, parts: Iterable[str]) -> None:
        """Make the missing parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder):
            makers = self._makers()
            for part in parts:
                (source, make), target = makers[part], self.folder / part
                if not self.args.force and _is_complete(target, source):
                    print(f"{part}: there already ({source})")
                    continue
                with product_directory(target, "TIPC input", settings={"source": source}) as work:
                    make(work)
                print(f"{part}: made ({source})")

    def _makers(self) -> dict[str, tuple[str, Callable[[Path], None]]]:
        """For each part its source, and the function that writes it into an empty directory."""
        args, size = self.args, f"{self.preset} {json.dumps(self.shape)}"
        splits, data = self._find_data()
        init = f"random weights, size {size}", self._make_random
        if args.model_dir:
            init = f"copy of {args.model_dir}", partial(_copy_checkpoint, args.model_dir)
        elif not self.training and _download_weights(self.preset):
            init = f"downloaded {self.preset}", partial(_save_published, self.preset)
        trained = f"trained on {data}, size {size}, {self.training}"
        if args.trained_dir:
            trained = f"copy of {args.trained_dir}"
        bundled, directory = DEFAULT_MODEL, bundled_model()
        if directory:
            bundled += f", sha256 {sha256(directory / WEIGHTS_FILE)[:12]}"
        return {
            "lite": (data, partial(write_data, splits, LITE_ROWS)),
            "whole": (data, partial(write_data, splits, {})),
            "init": init,
            "trained": (trained, self._make_trained),
            "bundled": (bundled, lambda work: _copy_checkpoint(default_checkpoint(), work)),
            "teacher": (f"answers of the {bundled} to {data}", self._make_teacher),
        }

    def _find_data(self) -> tuple[Splits, str]:
        """The data, and one line about their source."""
        splits, name = None, "embedded reviews"
        if self.args.data_dir:
            splits, name = read_sst2(self.args.data_dir), "given data"
        elif not self.training:
            try:
                splits, name = read_sst2(None), "downloaded SST-2"
            except UserError as error:
                print(f"no SST-2 ({error}): using the sentences in data/reviews")
        splits = splits or read_sst2(str(REVIEWS))
        digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
        return splits, f"{name}, sha256 {digest[:12]}"

    def _make_random(self, work: Path) -> None:
        import paddle

        from paddlenlp import transformers

        paddle.seed(42)
        vocabulary = str(REVIEWS / "vocab.txt")
        tokenizer = transformers.ConvBertTokenizer(vocabulary, label_names=["0", "1"])
        size = {"vocab_size": tokenizer.vocab_size, **self.shape}
        config = transformers.ConvBertConfig.preset(self.preset, **size)
        transformers.ConvBertForSequenceClassification(config).save_pretrained(str(work))
        tokenizer.save_pretrained(str(work))

    def _make_trained(self, work: Path) -> None:
        best, output = work / "best.pdparams", work / "run"
        if self.args.trained_dir:
            _copy_checkpoint(self.args.trained_dir, best)
        elif not self.training:
            how = "give --trained_dir best.pdparams of a run"
            raise UserError("command-line", f"no fine-tuned checkpoint of this size: {how}")
        else:
            inputs = {"data_dir": self.folder / "whole", "model_name_or_path": self.folder / "init"}
            _python("train.py", *self.training.split(), **inputs, output_dir=output)
            (output / "best.pdparams").rename(best)
            shutil.rmtree(output)
        target = work / "convbert_infer"
        _python("tools/export_model.py", model_path=best, save_inference_dir=target)

    def _make_teacher(self, work: Path) -> None:
        texts = self.folder / "whole" / "train.tsv"
        files = {"model_path": self.folder / "bundled", "input_file": texts}
        files["output_file"] = work / "logits.npz"
        _python("distill/own_logits.py", "--text_column=sentence", **files)


def _is_complete(part: Path, source: str) -> bool:
    """Whether a part was made from ``source`` and has not changed since."""
    manifest = read_manifest(part)
    if manifest is None or manifest["settings"].get("source") != source:
        return False
    try:
        return bool(verify(part))
    except UserError:
        return False


def read_sst2(data_dir: str | None) -> Splits:
    """Read ``{split: [(sentence, label), ...]}`` from a folder, or download SST-2 for None."""
    from paddlenlp.datasets import load_dataset

    loaded = zip(("train", "dev"), load_dataset("glue", "sst-2", ["train", "dev"], data_dir))
    return {split: [(row["sentence"], row["labels"]) for row in rows] for split, rows in loaded}


def write_data(splits: Splits, limits: dict[str, int], target: Path) -> None:
    """Write train.tsv and dev.tsv, only their first ``limits`` rows if given, and texts.txt."""
    for split, rows in splits.items():
        rows = rows[: limits.get(split)]
        lines = ["sentence\tlabel\n"] + [f"{text}\t{label}\n" for text, label in rows]
        (target / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    texts = "".join(f"{text}\n" for text, _ in rows)
    (target / "texts.txt").write_text(texts, encoding="utf-8")


def _copy_checkpoint(source: str, target: Path) -> None:
    if not Path(source, WEIGHTS_FILE).is_file():
        raise UserError("file-missing", f"{source} is not a checkpoint: it has no {WEIGHTS_FILE}")
    shutil.copytree(source, target, dirs_exist_ok=True)


def _download_weights(name: str) -> bool:
    try:
        for file in ("vocab.txt", WEIGHTS_FILE):
            pretrained_file(name, file)
    except UserError as error:
        print(f"no {name} ({error}): using RANDOM weights of its size")
        return False
    return True


def _save_published(name: str, target: Path) -> None:
    """Write a published model, with a new head, as a checkpoint directory."""
    from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer

    ConvBertForSequenceClassification.from_pretrained(name).save_pretrained(str(target))
    ConvBertTokenizer.from_pretrained(name).save_pretrained(str(target))


def _python(script: str, *flags: str, **paths: Path) -> None:
    """Run a script of this repository; ``paths`` are flags, too."""
    flags += tuple(f"--{name}={path}" for name, path in paths.items())
    print(f"$ python {script} {' '.join(flags)}", flush=True)
    run_step([sys.executable, ROOT / script, *flags])
