"""The flags of train.py and pretrain.py: tables, and how they become the settings of a run.

Nothing here imports Paddle, so a mistake in the flags is reported immediately.
"""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convbert.command.flags import THREADS, add_bool_flag, float_in, int_at_least, make_parser
from convbert.training.tasks import TASKS
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError

COUNT, AT_LEAST_0, LENGTH = int_at_least(1), int_at_least(0), int_at_least(3)
SHARE, DROPOUT, NOT_NEGATIVE = float_in(0, 1), float_in(0, 0.99), float_in(0, 1e9)

# Each row: name, default, kind, help. The kind is bool, a list of choices, the function that reads
# the value, or for a string how --help names it.
SIZES = (
    ("num_hidden_layers", None, COUNT, "encoder layers"),
    ("hidden_size", None, COUNT, "width of the encoder"),
    ("num_attention_heads", None, COUNT, "heads, half of them convolutions"),
    ("intermediate_size", None, COUNT, "width of the feed-forward layers"),
    ("embedding_size", None, COUNT, "width of the embeddings"),
)
DROPOUTS = (
    ("hidden_dropout_prob", None, DROPOUT, "dropout of embeddings, layers and classifier"),
    ("attention_probs_dropout_prob", None, DROPOUT, "dropout of the attention probabilities"),
)
COMMON = (
    ("warmup_proportion", 0.1, SHARE, "warm-up as a share of all steps"),
    ("weight_decay", 0.01, NOT_NEGATIVE, "decoupled weight decay"),
    ("seed", 42, AT_LEAST_0, "seed of weights, order, masks, samples and dropout"),
    ("device", None, ["gpu", "cpu"], "gpu or cpu (default: gpu if Paddle sees one, else cpu)"),
    ("cpu_threads", None, THREADS, "threads per process (default: one per available core)"),
)
TRAIN_FLAGS = (
    # data
    ("task_name", None, list(TASKS), "GLUE task (default: sst-2)"),
    ("data_dir", None, "DIR", "folder with the task's official files (default: download them)"),
    ("train_file", None, "FILE", "your own data instead of a task: .csv, .tsv, .jsonl, .parquet"),
    ("dev_file", None, "FILE", "with --train_file: the dev set (default: hold out a part)"),
    ("text_column", None, "NAME", "column of the texts (default: 'text' or 'sentence')"),
    ("text_pair_column", None, "NAME", "column of the second texts of pairs"),
    ("label_column", "label", "NAME", "column of the labels"),
    ("regression", False, bool, "with --train_file: the labels are numbers to predict"),
    ("dev_share", 0.1, float_in(0, 0.9), "share of --train_file to hold out without --dev_file"),
    ("max_seq_length", 128, LENGTH, "longest sequence in tokens; longer texts are truncated"),
    ("group_by_length", False, bool, "batch texts of similar length, which saves padding"),
    # teacher
    ("teacher_logits", None, "FILE", "logits of a teacher: .npz file of distill/own_logits.py"),
    ("teacher_weight", 0.9, SHARE, "with --teacher_logits: share of the teacher in the loss"),
    ("temperature", 2.0, float_in(0.01, 1000), "with --teacher_logits: softens both distributions"),
    # model
    ("model_type", "convbert", ["convbert"], "family of the model"),
    ("model_name_or_path", "convbert-base", "MODEL", "published name or checkpoint directory"),
    ("from_scratch", False, bool, "random weights, in the size of that model or model_config.json"),
    ("vocab_file", None, "FILE", "with --from_scratch: vocab.txt"),
    *((name, default, kind, f"with --from_scratch: {help}") for name, default, kind, help in SIZES),
    *DROPOUTS,
    # optimization
    ("learning_rate", 1e-4, NOT_NEGATIVE, "highest learning rate, that of the head"),
    ("scheduler_type", "linear", ["linear", "cosine"], "decay of the learning rate after warm-up"),
    ("warmup_steps", 0, AT_LEAST_0, "warm-up in steps; 0: use --warmup_proportion"),
    ("layer_lr_decay", 0.8, float_in(1e-6, 1), "rate of a layer / rate of the layer above; 1: off"),
    ("adam_epsilon", 1e-6, float_in(1e-30, 1), "epsilon of AdamW"),
    ("max_grad_norm", 0.0, NOT_NEGATIVE, "clip the gradient to this norm; 0: off"),
    ("batch_size", 32, COUNT, "examples per step and process"),
    ("gradient_accumulation_steps", 1, COUNT, "batches that make up one optimizer step"),
    ("num_train_epochs", 3, COUNT, "passes over the data (rte, sts-b: 10)"),
    ("max_steps", -1, int_at_least(-1), "optimizer steps instead of epochs; -1: off"),
    # run
    ("output_dir", "./convbert_base_outputs", "DIR", "output directory"),
    ("resume", False, bool, "continue the unfinished run in --output_dir from its last state"),
    ("overwrite", False, bool, "replace an unfinished run or a better model in --output_dir"),
    ("keep_states", 1, AT_LEAST_0, "states kept for --resume, each 3 times the weights; 0: none"),
    ("visualdl_dir", None, "DIR", "write curves for VisualDL here (requirements-visualdl.txt)"),
    ("logging_steps", 100, COUNT, "steps between two printed lines"),
    ("save_steps", 400, COUNT, "steps between two evaluations"),
    ("use_amp", False, bool, "mixed precision on a GPU; on a CPU it has no effect"),
    ("amp_dtype", "float16", ["float16", "bfloat16"], "type of --use_amp"),
    *COMMON,
)
# The defaults are those of ELECTRA-Small (arXiv 2003.10555, appendix A), some reduced for small
# machines.
PRETRAIN_FLAGS = (
    ("input_file", None, "FILE", "UTF-8 text, one sentence per line (default: data/reviews)"),
    ("vocab_file", str(REVIEWS / "vocab.txt"), "FILE", "vocabulary (default: of data/reviews)"),
    ("max_seq_length", 128, LENGTH, "tokens of a sequence; longer lines are cut into several"),
    ("mask_probability", 0.15, float_in(0.01, 0.5), "share of words that the generator predicts"),
    ("model_size", "convbert-small", list(PRESETS), "size of the discriminator"),
    *SIZES,
    ("generator_share", 4, COUNT, "how many times narrower the generator is"),
    ("learning_rate", 5e-4, NOT_NEGATIVE, "highest learning rate"),
    ("max_grad_norm", 1.0, NOT_NEGATIVE, "clip the gradient to this norm; 0: off"),
    ("batch_size", 32, COUNT, "sequences per step"),
    ("max_steps", 1000, COUNT, "optimizer steps of the whole run"),
    ("output_dir", "./pretrain_outputs", "DIR", "output directory"),
    ("resume", False, bool, "continue the run in --output_dir from its last state"),
    ("logging_steps", 20, COUNT, "steps between two printed lines"),
    ("save_steps", 200, COUNT, "steps between two saved states"),
    *COMMON,
)
NEW_MODEL_FLAGS = ("vocab_file", *(name for name, *_ in SIZES))
OWN_DATA_FLAGS = ("dev_file", "text_column", "text_pair_column", "regression")
# These settings may change when a run is resumed. Files may move: the state has a checksum of their
# content.
RUN_SETTINGS = (
    "data_dir", "train_file", "dev_file", "teacher_logits", "input_file", "vocab_file",
    "output_dir", "visualdl_dir", "resume", "overwrite", "keep_states", "logging_steps",
    "save_steps", "device", "cpu_threads",
)  # fmt: skip


def train_settings(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of train.py.

    The user's flags override those of the run that ``--resume`` continues, or the task's defaults
    (`tasks`), which override the defaults in the table.

    Raises:
        UserError: an unknown flag, a bad value (lists the choices), or a contradiction.
    """
    parser = _parser(
        "Fine-tune ConvBERT on a GLUE task or on your own data.\n\n"
        "    python train.py --task_name sst-2 --model_name_or_path convbert-base",
        TRAIN_FLAGS,
    )
    config = parser.parse_args(argv)
    if config.resume:
        parser.set_defaults(**_saved_settings(config.output_dir))
    elif config.train_file and config.task_name:
        raise UserError("command-line", "give either --train_file or --task_name, not both")
    elif not config.train_file:
        parser.set_defaults(**TASKS[config.task_name or "sst-2"].defaults)
    config = parser.parse_args(argv)
    config.task_name = config.task_name or "sst-2"
    _check(config)
    return config


def pretrain_settings(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of pretrain.py.

    Raises:
        UserError: an unknown flag or a bad value.
    """
    description = (
        "Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file.\n\n"
        "    python pretrain.py --input_file corpus.txt --vocab_file vocab.txt --max_steps 1000"
    )
    return _parser(description, PRETRAIN_FLAGS).parse_args(argv)


def given(config: Namespace, *tables: Iterable[tuple]) -> dict[str, Any]:
    """Return the settings of some rows, without those that are None."""
    values = {row[0]: getattr(config, row[0]) for table in tables for row in table}
    return {name: value for name, value in values.items() if value is not None}


def identity(config: Namespace) -> dict[str, Any]:
    """Return the settings that a resumed run must share with its beginning."""
    return {name: value for name, value in vars(config).items() if name not in RUN_SETTINGS}


def _parser(description: str, rows: Iterable[tuple]):
    parser = make_parser(description, heading="training")
    for name, default, kind, help in rows:
        if kind is bool:
            add_bool_flag(parser, f"--{name}", default, help)
            continue
        options = {"type": kind}
        if isinstance(kind, str):
            options = {"metavar": kind}
        elif isinstance(kind, list):
            options = {"choices": kind}
        parser.add_argument(f"--{name}", default=default, help=help, **options)
    return parser


def _saved_settings(output_dir: str) -> dict[str, Any]:
    """The settings of the run that ``--resume`` continues; {} if there is no run."""
    path = Path(output_dir) / "args.json"
    saved = read_json(str(path)) if path.is_file() else {}
    names = {row[0] for row in TRAIN_FLAGS} - {"output_dir", "overwrite", "resume"}
    return {name: value for name, value in saved.items() if name in names}


def _check(config: Namespace) -> None:
    """Raise `UserError` for settings that contradict each other."""
    new_model = [name for name in NEW_MODEL_FLAGS if getattr(config, name) is not None]
    own_data = [name for name in OWN_DATA_FLAGS if getattr(config, name)]
    message = None
    if new_model and not config.from_scratch:
        message = f"--{new_model[0]} is only for --from_scratch: a checkpoint has its own"
    elif own_data and not config.train_file:
        message = f"--{own_data[0]} is only for --train_file: leave it out, or give your own data"
    elif config.train_file and config.data_dir:
        message = "give either --train_file or --data_dir, not both"
    elif config.resume and config.overwrite:
        message = "give either --resume or --overwrite, not both"
    elif config.max_steps == 0:
        message = "--max_steps 0 trains nothing: give a number of steps, or -1 for whole epochs"
    if message:
        raise UserError("command-line", message)
    if config.resume and not any(Path(config.output_dir).glob("states/step-*")):
        message = f"{config.output_dir} has no saved state to resume from"
        raise UserError("resume", f"{message} (a finished run has none): omit --resume")
    if config.visualdl_dir and find_spec("visualdl") is None:
        install = "pip install -r requirements-visualdl.txt"
        raise UserError("package-missing", f"--visualdl_dir needs VisualDL: {install}")
