"""Typed command-line flags, and a parser whose errors are one line."""

import argparse
import os
from collections.abc import Callable
from functools import partial

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import MANIFEST_FILE, READABLE

# The headings of --help, in order, and the flags below each. Flags that are not listed here are
# shown below the heading of their script (`make_parser`).
HEADINGS = {
    "input": """text text_pair input_file input_dir input_column label_column text_column
        text_pair_column task_name data_dir train_file dev_file dev_column dev_share regression
        max_seq_len max_seq_length group_by_length calib_file calib_column calib_size
        mask_probability wheel sentences""",
    "model": """model_path model_dir model_type model_name_or_path from_scratch vocab_file
        num_hidden_layers hidden_size num_attention_heads intermediate_size embedding_size
        hidden_dropout_prob attention_probs_dropout_prob model_size generator_share architecture
        teacher trained_dir dirname model_filename params_filename size sizes model
        models""",
    "output": """output_dir output_file output_npy output save_inference_dir save_results
        serving_server serving_client run_dir work_dir to overwrite keep_states logging_steps
        save_steps visualdl_dir quiet prefix rows_per_part mistakes json""",
    "engine": """engine engines onnx_file use_gpu gpu_id use_mkldnn cpu_threads precision
        engine_cluster ray_workers int8_dir device use_amp amp_dtype""",
    "training": "",
}
HEADING_OF = {f"--{flag}": name for name, flags in HEADINGS.items() for flag in flags.split()}

OUTPUTS = ("output", "save_", "serving_", "json")  # how the names of flags for outputs begin

DEFAULT_SENTENCE = "the problem , it is with most of these things , is the script ."
LARGEST = 2**63 - 1  # of int64


def bool_flag(value: str) -> bool:
    """Parse ``true/false/1/0/yes/no``; anything else is an error rather than a silent False."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "y", "t"):
        return True
    if word in ("false", "0", "no", "n", "f"):
        return False
    raise argparse.ArgumentTypeError(f"'{value}' is not a boolean: use True or False")


def add_bool_flag(parser: argparse.ArgumentParser, name: str, default: bool, help: str) -> None:
    """Add a flag usable as ``--x``, ``--x True`` and ``--x=False``."""
    parser.add_argument(
        name, type=bool_flag, nargs="?", const=True, default=default, metavar="BOOL", help=help
    )


def int_at_least(minimum: int, maximum: int = LARGEST) -> Callable[[str], int]:
    """Return an argparse type for integers from ``minimum`` to ``maximum`` (default: int64)."""
    return partial(_number, int, minimum, maximum)


def float_in(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for finite floats in the closed interval ``[low, high]``."""
    return partial(_number, float, low, high)


def _number(kind: type, low: float, high: float, value: str) -> float:
    try:
        number = kind(value)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"'{value}' is not {what}") from None
    if not low <= number <= high:  # also refuses nan
        allowed = f"{low} to {high}" if high < LARGEST else f"at least {low} and less than 2^63"
        raise argparse.ArgumentTypeError(f"{value} is out of range: give {allowed}")
    return number


THREADS = int_at_least(1, 1024)  # many thousands would make the machine unusable


class OneLineParser(argparse.ArgumentParser):
    """An argument parser with flags below `HEADINGS` and errors of one line."""

    heading = ""
    groups: dict[str, argparse._ArgumentGroup] = {}

    def add_argument(self, *names, **options) -> argparse.Action:
        """Add a positional argument, or a flag below its heading; help also shows the default."""
        help, default = options.get("help"), options.get("default")
        shown = default is not False and default not in (None, argparse.SUPPRESS)
        if help and shown and "default" not in help:
            options["help"] = f"{help} (default: %(default)s)"
        heading = HEADING_OF.get(names[0], self.heading)
        if names[0].startswith("--") and heading in self.groups:
            return self.groups[heading].add_argument(*names, **options)
        return super().add_argument(*names, **options)

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does; then check that no output replaces something else."""
        found, rest = super().parse_known_args(args, namespace)
        _check_outputs({name: path for name, path in vars(found).items() if isinstance(path, str)})
        return found, rest

    def error(self, message: str):
        """Reject a command line; `run_main` prints the message and exits with status 2."""
        raise UserError("command-line", f"{message} (--help lists the flags)")


def _check_outputs(flags: dict[str, str]) -> None:
    """Raise `UserError` if an output would replace an input, another output or a part of a product.

    Commands that write whole directories check those themselves.
    """
    outputs = {name: flags[name] for name in flags if name.startswith(OUTPUTS)}
    taken = {os.path.realpath(flags[name]): name for name in flags if name not in outputs}
    taken = {path: name for path, name in taken.items() if os.path.isfile(path)}
    for name, path in outputs.items():
        target = os.path.realpath(path)
        if target in taken:
            message = f"--{taken[target]} and --{name} are both {path}: give another path"
            raise UserError("occupied", message)
        folder, suffix = os.path.dirname(target), os.path.splitext(target)[1]
        in_product = suffix in READABLE and os.path.isfile(os.path.join(folder, MANIFEST_FILE))
        if in_product and os.path.isfile(target):
            message = f"--{name} {path} is a file of the product in that directory"
            raise UserError("occupied", f"{message}: give another path")
        if os.path.isfile(target) or not os.path.exists(target):  # not a device or pipe
            taken[target] = name


def make_parser(description: str, heading: str = "options") -> argparse.ArgumentParser:
    """Return the parser of an entry script; flags cannot be abbreviated.

    Args:
        description: what the script does, and an example; shown with its line breaks.
        heading: above the flags that `HEADINGS` does not list.
    """
    plain = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(description=description, allow_abbrev=False, formatter_class=plain)
    titles = dict.fromkeys([*HEADINGS, heading])
    titles.pop("options", None)  # argparse has this one
    parser.groups = {title: parser.add_argument_group(title) for title in titles}
    parser.heading = heading
    return parser


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--device gpu|cpu``; the default is the GPU if Paddle sees one, else the CPU."""
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), help="default: gpu if Paddle sees one, else cpu"
    )
