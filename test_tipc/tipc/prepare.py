"""Data and models for the configurations, under test_tipc/data/<model_name>.

lite/, whole/   train.tsv, dev.tsv in the format of GLUE SST-2, texts.txt (sentences of dev)
init/           the checkpoint that training starts from
trained/        best.pdparams/, a fine-tuned checkpoint, and convbert_infer/, its export
teacher/        logits.npz: logits of the bundled model for the training data, for distillation

Each of them has a manifest.json with its source and the SHA-256 of each file.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from convbert.command.flags import make_parser
from convbert.command.start import run_step, start_paddle
from convbert.inference.default_model import default_checkpoint
from convbert.training.tasks import glue_examples
from paddlenlp.transformers.checkpoint import WEIGHTS_FILE
from paddlenlp.utils.checkout import REVIEWS, ROOT
from paddlenlp.utils.download import file_lock
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import pretrained_file
from paddlenlp.utils.products import product_directory, read_manifest, sha256, verify
from tipc.config import PREPARED, read_config
from tipc.formats import ALL_MODES, MODES, TRAIN_MODES

LITE_ROWS = {"train": 64, "dev": 32}
Splits = dict[str, list[tuple[str, int]]]
Part = tuple[str, Callable[[Path], Any]]  # its source; writes it into an empty directory

# For each model name: the published model of this size, and sizes that replace its own. With them,
# nothing is downloaded, and the model is trained here.
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "ConvBERT": ("convbert-base", {}),
    "ConvBERT-tiny": (
        "convbert-small",
        {
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "embedding_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": 128,
        },
    ),
}
TRAINING = (
    "--batch_size=16 --learning_rate=2e-3 --layer_lr_decay=1 --max_steps=360 --save_steps=60 "
    "--logging_steps=60 --group_by_length --device=cpu"
)


def main(argv=None) -> int:
    """Prepare the parts that a configuration needs in a mode; complete parts are kept."""
    parser = make_parser("Get the data and models that a TIPC configuration needs in a mode.")
    add = parser.add_argument
    add("config")
    add("mode", choices=ALL_MODES)
    add("--data_dir", help="folder with train.tsv and dev.tsv of SST-2")
    add("--model_dir", help="checkpoint to start training from")
    add("--trained_dir", help="fine-tuned checkpoint (best.pdparams)")
    args = parser.parse_args(argv)
    kind = next(kind for kind, modes in MODES.items() if args.mode in modes)
    config = read_config(args.config, kind, args.mode)
    name = config.value("model_name")
    if name not in SHAPES:
        known = ", ".join(SHAPES)
        raise UserError("tipc", f"{args.config}: unknown model_name {name}: give one of {known}")
    parts = ["lite", "whole", "init"]
    if config.mode not in (*TRAIN_MODES, *MODES["benchmark"]):
        parts.append("trained")
    if kind == "train_infer" and "distill_train" in config.values("trainer"):
        parts.append("teacher")
    start_paddle()
    Preparation(name, args).run(parts)
    return 0


class Preparation:
    """One folder below test_tipc/data, made part by part under a lock."""

    def __init__(self, name: str, args):
        self.args, self.folder = args, PREPARED / name
        self.preset, self.shape = SHAPES[name]
        self.size = f"{self.preset} {json.dumps(self.shape)}"

    def run(self, parts: Iterable[str]) -> None:
        """Make the missing parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder):
            splits, data = self._find_data()
            find = {
                "lite": lambda: (data, partial(write_data, splits, LITE_ROWS)),
                "whole": lambda: (data, partial(write_data, splits, {})),
                "init": self._find_init,
                "trained": partial(self._find_trained, data),
                "teacher": partial(self._find_teacher, data),
            }
            for part in parts:
                (source, make), target = find[part](), self.folder / part
                if _is_complete(target, source):
                    print(f"{part}: there already ({source})")
                    continue
                with product_directory(target, "TIPC input", settings={"source": source}) as work:
                    make(work)
                print(f"{part}: made ({source})")

    def _find_data(self) -> tuple[Splits, str]:
        """The data, and one line about their source."""
        splits, name = None, "embedded reviews"
        if self.args.data_dir:
            splits, name = read_sst2(self.args.data_dir), "given data"
        elif not self.shape:
            try:
                splits, name = read_sst2(None), "downloaded SST-2"
            except UserError as error:
                print(f"no SST-2 ({error}): using the sentences in data/reviews")
        splits = splits or read_sst2(str(REVIEWS))
        digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
        return splits, f"{name}, sha256 {digest[:12]}"

    def _find_init(self) -> Part:
        if given := self.args.model_dir:
            make = partial(shutil.copytree, given, dirs_exist_ok=True)
            return f"copy of {_described(given)}", make
        if not self.shape:
            try:
                for file in ("vocab.txt", WEIGHTS_FILE):
                    pretrained_file(self.preset, file)
                return f"downloaded {self.preset}", partial(self._make_model, published=True)
            except UserError as error:
                print(f"no {self.preset} ({error}): using RANDOM weights of its size")
        return f"random weights, size {self.size}", partial(self._make_model, published=False)

    def _make_model(self, work: Path, published: bool) -> None:
        """Write the published model with a new head, or one with random weights."""
        import paddle

        from paddlenlp import transformers

        paddle.seed(42)
        if published:
            tokenizer = transformers.ConvBertTokenizer.from_pretrained(self.preset)
            model = transformers.ConvBertForSequenceClassification.from_pretrained(self.preset)
        else:
            vocabulary = str(REVIEWS / "vocab.txt")
            tokenizer = transformers.ConvBertTokenizer(vocabulary, label_names=["0", "1"])
            size = {"vocab_size": tokenizer.vocab_size, **self.shape}
            config = transformers.ConvBertConfig.preset(self.preset, **size)
            model = transformers.ConvBertForSequenceClassification(config)
        model.save_pretrained(str(work))
        tokenizer.save_pretrained(str(work))

    def _find_trained(self, data: str) -> Part:
        given = self.args.trained_dir
        if not given and not self.shape:
            how = "give --trained_dir best.pdparams of a run"
            raise UserError("command-line", f"no fine-tuned checkpoint of this size: {how}")

        def make(work: Path) -> None:
            best = work / "best.pdparams"
            if given:
                shutil.copytree(given, best)
            else:
                texts, init = self.folder / "whole", self.folder / "init"
                flags = {"data_dir": texts, "model_name_or_path": init, "output_dir": work}
                _python("train.py", *TRAINING.split(), **flags)
            target = work / "convbert_infer"
            _python("tools/export_model.py", model_path=best, save_inference_dir=target)

        trained = f"trained on {data}, size {self.size}, {TRAINING}"
        return f"copy of {_described(given)}" if given else trained, make

    def _find_teacher(self, data: str) -> Part:
        def make(work: Path) -> None:
            texts, output = self.folder / "whole" / "train.tsv", work / "logits.npz"
            flags = {"input_file": texts, "output_file": output}
            _python("distill/own_logits.py", "--text_column=sentence", **flags)

        return f"answers of {_described(default_checkpoint())} to {data}", make


def _described(source: str) -> str:
    """A checkpoint directory, which must exist, and the hash of its weights."""
    weights = Path(source, WEIGHTS_FILE)
    if not weights.is_file():
        raise UserError("file-missing", f"{source} is not a checkpoint: it has no {WEIGHTS_FILE}")
    return f"{source}, sha256 {sha256(weights)[:12]}"


def _is_complete(part: Path, source: str) -> bool:
    """Whether a part was made from ``source`` and has not changed since."""
    try:
        manifest = read_manifest(part) or {"settings": {}}
        return manifest["settings"].get("source") == source and bool(verify(part))
    except UserError:
        return False


def read_sst2(data_dir: str | None) -> Splits:
    """Read ``{split: [(sentence, label), ...]}`` from a folder, or download SST-2 for None."""
    splits = ("train", "dev")
    return {split: list(zip(*glue_examples("sst-2", split, data_dir))) for split in splits}


def write_data(splits: Splits, limits: dict[str, int], target: Path) -> None:
    """Write train.tsv and dev.tsv, only their first ``limits`` rows if given, and texts.txt."""
    for split, rows in splits.items():
        rows = rows[: limits.get(split)]
        lines = ["sentence\tlabel\n"] + [f"{text}\t{label}\n" for text, label in rows]
        (target / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    texts = "".join(f"{text}\n" for text, _ in rows)
    (target / "texts.txt").write_text(texts, encoding="utf-8")


def _python(script: str, *flags: str, **paths: Path) -> None:
    """Run a script of this repository; ``paths`` are flags, too."""
    flags += tuple(f"--{name}={path}" for name, path in paths.items())
    print(f"$ python {script} {' '.join(flags)}", flush=True)
    run_step([sys.executable, ROOT / script, *flags])
