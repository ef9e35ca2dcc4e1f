"""The settings of train.py and pretrain.py: two dataclasses with one field per flag.

Nothing here imports Paddle, so a mistake in the flags is reported immediately.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convbert.command.flags import add_bool_flag, float_in, int_at_least, make_parser
from convbert.training.tasks import TASKS
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError

HUGE = 1e9


def flag(default: Any, help: str, **options: Any) -> Any:
    """Declare a field: its default, the help of its flag and further `add_argument` options."""
    return dataclasses.field(default=default, metadata={"help": help, "options": options})


# These settings may change when a run is resumed. Files may move: the state has a checksum of their
# content.
RUN_SETTINGS = (
    "data_dir",
    "train_file",
    "dev_file",
    "teacher_logits",
    "input_file",
    "vocab_file",
    "output_dir",
    "visualdl_dir",
    "resume",
    "overwrite",
    "keep_states",
    "logging_steps",
    "save_steps",
    "device",
    "cpu_threads",
)


class Settings:
    """What the two dataclasses have in common."""

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, for args.json."""
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with its beginning."""
        return {name: v for name, v in self.to_dict().items() if name not in RUN_SETTINGS}


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Every setting of a run, checked.

    The user's flags override the task's defaults (`tasks`), which override those below.

    Raises:
        UserError: settings that contradict each other.
    """

    # data
    task_name: str = flag("sst-2", "GLUE task", choices=list(TASKS))
    data_dir: str | None = flag(
        None, "folder with the task's official files (default: download them)", metavar="DIR"
    )
    train_file: str | None = flag(
        None, "your own data instead of a GLUE task: .csv, .tsv, .jsonl or .parquet", metavar="FILE"
    )
    dev_file: str | None = flag(
        None, "with --train_file: the dev set (default: hold out a part)", metavar="FILE"
    )
    text_column: str | None = flag(
        None, "column of the texts (default: 'text' or 'sentence')", metavar="NAME"
    )
    text_pair_column: str | None = flag(
        None, "column of the second texts, for pairs", metavar="NAME"
    )
    label_column: str = flag("label", "column of the labels", metavar="NAME")
    regression: bool = flag(False, "with --train_file: the labels are numbers to predict")
    dev_share: float = flag(
        0.1, "share of --train_file to hold out if there is no --dev_file", type=float_in(0, 0.9)
    )
    max_seq_length: int = flag(128, "tokens kept of a text or pair", type=int_at_least(3))
    group_by_length: bool = flag(False, "batch texts of similar length: less padding, faster")
    # teacher
    teacher_logits: str | None = flag(
        None,
        "a teacher's logits for the training texts: an .npz from distill/teacher_logits.py",
        metavar="FILE",
    )
    teacher_weight: float = flag(
        0.9,
        "with --teacher_logits: share of the loss that follows the teacher",
        type=float_in(0, 1),
    )
    temperature: float = flag(
        2.0, "with --teacher_logits: softens both distributions", type=float_in(0.01, 1000)
    )
    # model
    model_type: str = flag("convbert", "family of the model", choices=["convbert"])
    model_name_or_path: str = flag(
        "convbert-base",
        "published name or checkpoint directory; with --from_scratch also a model_config.json",
    )
    from_scratch: bool = flag(False, "random weights: only the size of the named model is used")
    vocab_file: str | None = flag(None, "vocab.txt for --from_scratch", metavar="FILE")
    num_hidden_layers: int | None = flag(
        None, "with --from_scratch: encoder layers", type=int_at_least(1)
    )
    hidden_size: int | None = flag(
        None, "with --from_scratch: width of the encoder", type=int_at_least(1)
    )
    num_attention_heads: int | None = flag(
        None, "with --from_scratch: heads, half of them convolutions", type=int_at_least(1)
    )
    intermediate_size: int | None = flag(
        None, "with --from_scratch: width of the feed-forward layers", type=int_at_least(1)
    )
    embedding_size: int | None = flag(
        None, "with --from_scratch: width of the embeddings", type=int_at_least(1)
    )
    hidden_dropout_prob: float | None = flag(
        None, "dropout of embeddings, layers and classifier", type=float_in(0, 0.99)
    )
    attention_probs_dropout_prob: float | None = flag(
        None, "dropout of the attention probabilities", type=float_in(0, 0.99)
    )
    # optimization
    learning_rate: float = flag(1e-4, "highest learning rate, of the head", type=float_in(0, HUGE))
    scheduler_type: str = flag(
        "linear", "decay of the learning rate after warm-up", choices=["linear", "cosine"]
    )
    warmup_steps: int = flag(0, "warm-up in steps; 0: by share", type=int_at_least(0))
    warmup_proportion: float = flag(0.1, "warm-up as a share of all steps", type=float_in(0, 1))
    layer_lr_decay: float = flag(
        0.8,
        "learning rate of a layer as a share of the next higher one's; 1: off",
        type=float_in(1e-6, 1),
    )
    weight_decay: float = flag(0.01, "decoupled weight decay", type=float_in(0, HUGE))
    adam_epsilon: float = flag(1e-6, "epsilon of AdamW", type=float_in(1e-30, 1))
    max_grad_norm: float = flag(
        0.0, "clip the gradient to this norm; 0: off, as upstream", type=float_in(0, HUGE)
    )
    batch_size: int = flag(32, "examples per step and process", type=int_at_least(1))
    gradient_accumulation_steps: int = flag(
        1, "batches that make up one optimizer step", type=int_at_least(1)
    )
    num_train_epochs: int = flag(3, "passes over the data (rte, sts-b: 10)", type=int_at_least(1))
    max_steps: int = flag(-1, "optimizer steps instead of epochs; -1: off", type=int_at_least(-1))
    # run
    output_dir: str = flag("./convbert_base_outputs", "output directory", metavar="DIR")
    resume: bool = flag(False, "continue the unfinished run in --output_dir from its last state")
    overwrite: bool = flag(
        False, "replace an unfinished run, or an earlier run's better model, in --output_dir"
    )
    keep_states: int = flag(
        1,
        "states to keep for --resume, each three times the weights; 0: none",
        type=int_at_least(0),
    )
    visualdl_dir: str | None = flag(
        None, "also write the curves for VisualDL here (requirements-visualdl.txt)", metavar="DIR"
    )
    logging_steps: int = flag(100, "steps between two printed lines", type=int_at_least(1))
    save_steps: int = flag(400, "steps between two evaluations", type=int_at_least(1))
    seed: int = flag(42, "fixes weights, order and dropout", type=int_at_least(0))
    device: str | None = flag(
        None, "gpu or cpu (default: gpu if Paddle sees one, else cpu)", choices=["gpu", "cpu"]
    )
    cpu_threads: int | None = flag(
        None, "threads per process (default: one per available core)", type=int_at_least(1)
    )
    use_amp: bool = flag(False, "mixed precision on a GPU; on a CPU it has no effect")
    amp_dtype: str = flag("float16", "type of --use_amp", choices=["float16", "bfloat16"])

    def __post_init__(self):
        given = [f"--{name}" for name in SIZE_FLAGS + ("vocab_file",) if getattr(self, name)]
        if given and not self.from_scratch:
            raise UserError(
                "command-line",
                f"{given[0]} is only for --from_scratch: a checkpoint has its own",
            )
        own = [f"--{name}" for name in OWN_DATA_FLAGS if getattr(self, name)]
        if own and not self.train_file:
            raise UserError("command-line", f"{own[0]} is only for --train_file")
        if self.train_file and self.data_dir:
            raise UserError("command-line", "give either --train_file or --data_dir, not both")
        if self.resume and self.overwrite:
            raise UserError("command-line", "give either --resume or --overwrite, not both")
        if self.visualdl_dir and find_spec("visualdl") is None:
            install = "pip install -r requirements-visualdl.txt"
            raise UserError("package-missing", f"--visualdl_dir needs VisualDL: {install}")
        if self.max_steps == 0:
            raise UserError(
                "command-line",
                "--max_steps 0 trains nothing: give a number of steps, or -1 for epochs",
            )

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> TrainConfig:
        """Read the command line ``argv``.

        Raises:
            UserError: an unknown flag, a bad value (lists the choices), or a contradiction.
        """
        description = (
            "Fine-tune ConvBERT on a GLUE task or on your own data.\n\n"
            "    python train.py --task_name sst-2 --model_name_or_path convbert-base"
        )
        given = vars(build_parser(cls, description).parse_args(argv))
        if given.get("resume"):
            given = {**_saved_settings(cls, given), **given}
        if "train_file" in given:
            if "task_name" in given and not given.get("resume"):
                raise UserError("command-line", "give either --train_file or --task_name, not both")
            return cls(**given)
        task_name = given.get("task_name", cls.task_name)
        return cls(**{**TASKS[task_name].defaults, **given})

    @property
    def warmup(self):
        """Warm-up as the schedules expect it: an int of steps, or a float share of all steps."""
        return self.warmup_steps if self.warmup_steps > 0 else float(self.warmup_proportion)

    @property
    def model_overrides(self) -> dict[str, Any]:
        """The fields of the model's configuration that the flags override."""
        return {
            k: getattr(self, k) for k in SIZE_FLAGS + DROPOUT_FLAGS if getattr(self, k) is not None
        }


OWN_DATA_FLAGS = ("dev_file", "text_column", "text_pair_column", "regression")
SIZE_FLAGS = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "embedding_size",
)
DROPOUT_FLAGS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def build_parser(settings: type, description: str) -> argparse.ArgumentParser:
    """Make a parser from a dataclass of flags; its result contains only the flags given."""
    parser = make_parser(description, heading="training")
    for field in dataclasses.fields(settings):
        name, help = f"--{field.name}", field.metadata["help"].replace("%", "%%")
        if isinstance(field.default, bool):
            add_bool_flag(parser, name, argparse.SUPPRESS, help)
            continue
        if field.default is not None:
            help += f" (default: {field.default})"
        options = field.metadata["options"]
        parser.add_argument(name, default=argparse.SUPPRESS, help=help, **options)
    return parser


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Every setting of a pretraining run.

    The defaults are those of ELECTRA-Small (arXiv 2003.10555, appendix A), some reduced for small
    machines.
    """

    # data
    input_file: str | None = flag(
        None, "UTF-8 text, one sentence per line (default: data/reviews)", metavar="FILE"
    )
    vocab_file: str = flag(str(REVIEWS / "vocab.txt"), "WordPiece vocabulary", metavar="FILE")
    max_seq_length: int = flag(
        128, "tokens of a sequence; longer lines are cut into several", type=int_at_least(3)
    )
    mask_probability: float = flag(
        0.15, "share of the words that the generator predicts", type=float_in(0.01, 0.5)
    )
    # model
    model_size: str = flag("convbert-small", "size of the discriminator", choices=list(PRESETS))
    num_hidden_layers: int | None = flag(None, "encoder layers", type=int_at_least(1))
    hidden_size: int | None = flag(None, "width of the encoder", type=int_at_least(1))
    num_attention_heads: int | None = flag(
        None, "heads, half of them convolutions", type=int_at_least(1)
    )
    intermediate_size: int | None = flag(
        None, "width of the feed-forward layers", type=int_at_least(1)
    )
    embedding_size: int | None = flag(None, "width of the embeddings", type=int_at_least(1))
    generator_share: int = flag(4, "how many times narrower the generator is", type=int_at_least(1))
    # optimization
    learning_rate: float = flag(5e-4, "highest learning rate", type=float_in(0, HUGE))
    warmup_proportion: float = flag(0.1, "warm-up as a share of all steps", type=float_in(0, 1))
    weight_decay: float = flag(0.01, "decoupled weight decay", type=float_in(0, HUGE))
    max_grad_norm: float = flag(
        1.0, "clip the gradient to this norm; 0: off", type=float_in(0, HUGE)
    )
    batch_size: int = flag(32, "sequences per step", type=int_at_least(1))
    max_steps: int = flag(1000, "optimizer steps of the whole run", type=int_at_least(1))
    # run
    output_dir: str = flag("./pretrain_outputs", "output directory", metavar="DIR")
    resume: bool = flag(False, "continue the run in --output_dir from its last state")
    logging_steps: int = flag(20, "steps between two printed lines", type=int_at_least(1))
    save_steps: int = flag(200, "steps between two saved states", type=int_at_least(1))
    seed: int = flag(42, "fixes weights, order, masks, samples, dropout", type=int_at_least(0))
    device: str | None = flag(
        None, "gpu or cpu (default: gpu if Paddle sees one, else cpu)", choices=["gpu", "cpu"]
    )
    cpu_threads: int | None = flag(
        None, "threads (default: one per available core)", type=int_at_least(1)
    )

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> PretrainConfig:
        """Read the command line ``argv``.

        Raises:
            UserError: an unknown flag or a bad value.
        """
        description = (
            "Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file.\n\n"
            "    python pretrain.py --input_file corpus.txt --vocab_file vocab.txt --max_steps 1000"
        )
        return cls(**vars(build_parser(cls, description).parse_args(argv)))

    def model_config(self, vocab_size: int, pad_token_id: int) -> ConvBertConfig:
        """Return the discriminator's configuration.

        Raises:
            UserError: sizes that do not fit together.
        """
        given = {name: getattr(self, name) for name in SIZE_FLAGS}
        overrides = {name: value for name, value in given.items() if value is not None}
        overrides.update(vocab_size=vocab_size, pad_token_id=pad_token_id)
        return ConvBertConfig.preset(self.model_size, **overrides)


def _saved_settings(settings: type, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the run that ``--resume`` continues; {} if there is no run."""
    path = Path(given.get("output_dir", settings.output_dir)) / "args.json"
    saved = read_json(str(path)) if path.is_file() else {}
    names = {field.name for field in dataclasses.fields(settings)} - {"output_dir", "overwrite"}
    return {name: value for name, value in saved.items() if name in names}
