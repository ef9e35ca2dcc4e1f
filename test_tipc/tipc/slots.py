"""The configuration formats as tables: which line holds what, and which values it may have.

A configuration is a numbered list of ``key:value`` lines; a line has its meaning by its position.
``null`` is "unused", ``a|b`` are alternatives that are all run, ``mode=a|mode=b`` are values of
which each mode takes its own. The value ``auto`` is filled in by the runner.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAIN_MODES = ("lite_train_lite_infer", "lite_train_whole_infer", "whole_train_whole_infer")
INFER_MODES = ("whole_infer", "klquant_whole_infer")
BENCHMARK_MODE = "benchmark_train"
BENCHMARK_SLOTS = ("pretrained", "train_extra")  # used by it beside its own block
AUTO = "auto"
NULL = "null"
Rule = Callable[[str], None]


def word(value: str) -> None:
    """Accept a name that can stand in a file name."""
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("give a name of letters, digits, '_', '.', '-'")


def anything(value: str) -> None:
    """Accept any text."""


def one_of(*choices: str) -> Rule:
    """Accept the given words."""

    def rule(value: str) -> None:
        if value not in choices:
            raise ValueError(f"give {' or '.join(choices)}")

    return rule


def at_least(minimum: int) -> Rule:
    """Accept an integer from ``minimum`` on."""

    def rule(value: str) -> None:
        if not re.fullmatch(r"-?\d+", value) or int(value) < minimum:
            raise ValueError(f"give an integer from {minimum} on")

    return rule


def set_by_runner(value: str) -> None:
    """Accept nothing: a fixed path would let the product of an earlier run pass."""
    if value != AUTO:
        raise ValueError(f"leave it {NULL} or {AUTO}: the runner puts a path of this run there")


def unsupported(value: str) -> None:
    """Accept nothing but null."""
    raise ValueError(f"this project has nothing for it: {NULL}")


def executable(value: str) -> None:
    """Accept a program that can be run."""
    if shutil.which(value) is None:
        raise ValueError("there is no such program on the PATH")


def script(value: str) -> None:
    """Accept a command that starts with a script of this repository, without fixed products."""
    name, *flags = value.split()
    if name != "-m" and not (ROOT / name).is_file():
        raise ValueError(f"there is no {name} in {ROOT}")
    for flag in flags:
        if flag.split("=")[0] in RUNNER_FLAGS:
            raise ValueError(
                f"take {flag.split('=')[0]} out: the runner sets it, so that no earlier product "
                "can pass as this run's"
            )


def devices(value: str) -> None:
    """Accept ``0``, ``0,1`` (cards), ``-1`` (CPU), ``-1,-1`` (CPU processes), ``ip,ip;0,1``."""
    nodes, _, cards = value.rpartition(";")
    address = r"\d{1,3}(\.\d{1,3}){3}"
    same_kind = re.fullmatch(r"-1(,-1)*|\d+(,\d+)*", cards)
    if not same_kind or (nodes and not re.fullmatch(f"{address}(,{address})+", nodes)):
        raise ValueError("give cards (0 or 0,1), CPU processes (-1 or -1,-1) or ip,ip;0,1")


# Flags whose values are products of a run.
RUNNER_FLAGS = (
    "--output_dir",
    "--save_inference_dir",
    "--model_path",
    "--model_dir",
    "--save_results",
    "--output_npy",
    "--output_file",
)


@dataclass(frozen=True)
class Slot:
    """One line of a configuration.

    Attributes:
        name: what the plan asks for.
        key: the words allowed before the colon; none: a flag (``--x``), or null for unused.
        rule: checks a value that is not null.
        needed: whether null is refused.
        many: whether ``a|b`` means alternatives.
        by_mode: whether ``mode=value`` is allowed.
        title: not a value but a separator line with this text in it.
    """

    name: str
    key: tuple[str, ...] = ()
    rule: Rule = anything
    needed: bool = False
    many: bool = False
    by_mode: bool = False
    title: str | None = None


def fixed(name: str, rule: Rule = anything, **options) -> Slot:
    """A line whose key is its name."""
    return Slot(name, (name,), rule, **options)


def flag(name: str, rule: Rule = anything, **options) -> Slot:
    """A line whose key is a flag of the program, or null."""
    return Slot(name, (), rule, **options)


def title(text: str) -> Slot:
    """A line of equals signs around ``text``, or ``##`` for no text."""
    return Slot(text or "##", title=text)


BOOL = one_of("True", "False")
PRECISIONS = one_of("fp32", "fp16", "bf16", "int8")

TRAIN_INFER: tuple[Slot, ...] = (
    title("train_params"),
    fixed("model_name", word, needed=True),
    fixed("python", executable, needed=True),
    fixed("gpu_list", devices, needed=True, many=True),
    flag("train_device", one_of(AUTO, "cpu", "gpu")),
    flag("autocast", BOOL, many=True),
    flag("train_length", at_least(1), needed=True, by_mode=True),
    flag("save_model", set_by_runner, needed=True),
    flag("train_batch", at_least(1), by_mode=True),
    flag("pretrained", by_mode=True),
    fixed("train_model_name", word, needed=True),
    Slot("train_infer_file", ("train_infer_file", "train_infer_img_dir", NULL), by_mode=True),
    flag("train_extra", by_mode=True),
    title(""),
    fixed("trainer", one_of("norm_train"), needed=True, many=True),
    fixed("norm_train", script, needed=True),
    fixed("pact_train", unsupported),
    fixed("fpgm_train", unsupported),
    fixed("distill_train", unsupported),
    flag("trainer_extra1", by_mode=True),
    flag("trainer_extra2", by_mode=True),
    title(""),
    title("eval_params"),
    fixed("eval", script),
    flag("eval_weights", set_by_runner),
    title(""),
    title("infer_params"),
    flag("save_infer", set_by_runner, needed=True),
    flag("export_weights", set_by_runner, needed=True),
    fixed("norm_export", script, needed=True),
    fixed("quant_export", unsupported),
    fixed("fpgm_export", unsupported),
    fixed("distill_export", unsupported),
    Slot("kl_quant", ("kl_quant", "export1"), script),
    fixed("export2", unsupported),
    title(""),
    fixed("infer_model", many=True),
    fixed("infer_export", script),
    fixed("infer_quant", BOOL),
    fixed("inference", script, needed=True),
    flag("use_gpu", BOOL, needed=True, many=True),
    flag("use_mkldnn", BOOL, many=True),
    flag("cpu_threads", at_least(1), many=True),
    flag("infer_batch", at_least(1), many=True),
    flag("use_tensorrt", unsupported),
    flag("precision", PRECISIONS, many=True),
    flag("infer_model_dir", set_by_runner, needed=True),
    flag("infer_input"),
    flag("save_log", set_by_runner, needed=True),
    flag("benchmark", BOOL),
    flag("infer_extra"),
)

TRAIN_BENCHMARK: tuple[Slot, ...] = (
    title("train_benchmark_params"),
    fixed("batch_size", at_least(1), needed=True, many=True),
    fixed("fp_items", one_of("fp32", "fp16", "bf16"), needed=True, many=True),
    Slot("bench_length", ("epoch", "max_steps"), at_least(1), needed=True),
    flag("profiler", unsupported),
    fixed("flags"),
)

SERVING: tuple[Slot, ...] = (
    title("serving_params"),
    fixed("model_name", word, needed=True),
    fixed("python", executable, needed=True),
    fixed("trans_model", script, needed=True),
    flag("dirname", needed=True),
    flag("model_filename"),
    flag("params_filename"),
    flag("serving_server", set_by_runner, needed=True),
    flag("serving_client", set_by_runner, needed=True),
    fixed("serving_dir", needed=True),
    fixed("web_service", needed=True),
    Slot("device_type", ("op.convbert.local_service_conf.device_type",), one_of("-1", "0", "1"),
         needed=True, many=True),
    Slot("serving_mkldnn", ("op.convbert.local_service_conf.use_mkldnn", NULL), BOOL, many=True),
    Slot("serving_threads", ("op.convbert.local_service_conf.thread_num", NULL), at_least(1),
         many=True),
    flag("serving_tensorrt", unsupported),
    Slot("serving_precision", ("op.convbert.local_service_conf.precision", NULL),
         one_of("fp32", "fp16", "bf16"), many=True),
    Slot("pipeline", ("pipline", "pipeline"), needed=True),
    flag("client_input"),
)  # fmt: skip

PADDLE2ONNX: tuple[Slot, ...] = (
    title("paddle2onnx_params"),
    fixed("model_name", word, needed=True),
    fixed("python", executable, needed=True),
    Slot("convert", ("2onnx",), needed=True),
    flag("onnx_model_dir", needed=True),
    flag("onnx_model_filename"),
    flag("onnx_params_filename"),
    flag("save_file", set_by_runner, needed=True),
    flag("opset", at_least(11), needed=True),
    flag("checker", BOOL),
    title(""),
    fixed("inference", script, needed=True),
    flag("use_onnx", unsupported),
    flag("onnx_file", set_by_runner, needed=True),
    flag("use_gpu", one_of("False")),
    flag("infer_input"),
)

FORMATS: dict[str, tuple[Slot, ...]] = {
    "train_infer": TRAIN_INFER,
    "benchmark": TRAIN_INFER + TRAIN_BENCHMARK,
    "serving": SERVING,
    "paddle2onnx": PADDLE2ONNX,
}
MODES: dict[str, tuple[str, ...]] = {
    "train_infer": TRAIN_MODES + INFER_MODES,
    "benchmark": (BENCHMARK_MODE,),
    "serving": ("serving_infer",),
    "paddle2onnx": ("paddle2onnx_infer",),
}
