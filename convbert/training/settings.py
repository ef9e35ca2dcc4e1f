"""The settings of a fine-tuning run: one dataclass, one field per flag of train.py.

Imports no Paddle, so that a mistake in the flags is told at once.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convbert.command.flags import add_bool_flag, float_in, int_at_least, make_parser
from convbert.training.tasks import TASKS
from paddlenlp.utils.errors import UserError

HUGE = 1e9


def flag(default: Any, help: str, **options: Any) -> Any:
    """Declare a field: its default, the help of its flag and further `add_argument` options."""
    return dataclasses.field(default=default, metadata={"help": help, "options": options})


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a run, checked.

    Precedence: the defaults below, then the task's (`tasks`), then what the user gave.

    Raises:
        UserError: settings that contradict each other.
    """

    # data
    task_name: str = flag("sst-2", "GLUE task", choices=list(TASKS))
    data_dir: str | None = flag(
        None, "folder with the task's official files (default: download them)", metavar="DIR"
    )
    max_seq_length: int = flag(128, "tokens kept of a text or pair", type=int_at_least(3))
    group_by_length: bool = flag(False, "batch texts of similar length: less padding, faster")
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
    word_dropout: float = flag(
        0.0, "share of the words hidden behind [MASK] in each training batch", type=float_in(0, 0.9)
    )
    ema_decay: float = flag(
        0.0,
        "evaluate and keep a moving average of the weights, e.g. 0.998; 0: off, as upstream",
        type=float_in(0, 0.999999),
    )
    # optimization
    learning_rate: float = flag(1e-4, "highest learning rate, of the head", type=float_in(0, HUGE))
    scheduler_type: str = flag(
        "linear", "decay of the learning rate after warm-up", choices=["linear", "cosine"]
    )
    warmup_steps: int = flag(0, "warm-up in steps; 0: by share", type=int_at_least(0))
    warmup_proportion: float = flag(0.1, "warm-up as a share of all steps", type=float_in(0, 1))
    layer_lr_decay: float = flag(
        0.8, "learning rate of a layer over that of the one above; 1: off", type=float_in(1e-6, 1)
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
    output_dir: str = flag("./convbert_base_outputs", "where the results go", metavar="DIR")
    logging_steps: int = flag(100, "steps between two printed lines", type=int_at_least(1))
    save_steps: int = flag(400, "steps between two evaluations", type=int_at_least(1))
    seed: int = flag(42, "fixes weights, order and dropout", type=int_at_least(0))
    device: str | None = flag(
        None, "gpu or cpu (default: gpu where Paddle sees one, else cpu)", choices=["gpu", "cpu"]
    )
    cpu_threads: int | None = flag(
        None, "threads per process (default: the cores at hand)", type=int_at_least(1)
    )
    use_amp: bool = flag(False, "mixed precision on a GPU; on a CPU it has no effect")
    amp_dtype: str = flag("float16", "type of --use_amp", choices=["float16", "bfloat16"])

    def __post_init__(self):
        given = [f"--{name}" for name in SIZE_FLAGS + ("vocab_file",) if getattr(self, name)]
        if given and not self.from_scratch:
            raise UserError(
                "command-line",
                f"{given[0]} only goes with --from_scratch: a checkpoint has its own",
            )
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
        description = "Fine-tune ConvBERT on a GLUE task, with evaluation in the loop."
        given = vars(build_parser(cls, description).parse_args(argv))
        task_name = given.get("task_name", cls.task_name)
        return cls(**{**TASKS[task_name].defaults, **given})

    @property
    def warmup(self):
        """Warm-up as the schedules take it: an int of steps, or a float share of all steps."""
        return self.warmup_steps if self.warmup_steps > 0 else float(self.warmup_proportion)

    @property
    def model_overrides(self) -> dict[str, Any]:
        """The fields of the model's configuration that the user replaced."""
        return {
            k: getattr(self, k) for k in SIZE_FLAGS + DROPOUT_FLAGS if getattr(self, k) is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for args.json."""
        return dataclasses.asdict(self)


SIZE_FLAGS = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "embedding_size",
)
DROPOUT_FLAGS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def build_parser(settings: type, description: str) -> argparse.ArgumentParser:
    """Make the parser out of a dataclass of flags; its result holds only the flags given."""
    parser = make_parser(description)
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
