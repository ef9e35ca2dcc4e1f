"""The configuration formats as tables: the meaning and the allowed values of each line.

A configuration is a numbered list of ``key:value`` lines; the position of a line gives its meaning.
``null`` means unused, ``a|b`` are alternatives that are all run, ``mode=a|mode=b`` gives each mode
its own value. The runner fills in ``auto``.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
NULL = "null"
TRAIN_MODES = ("lite_train_lite_infer", "lite_train_whole_infer", "whole_train_whole_infer")
INFER_MODES = ("whole_infer", "klquant_whole_infer")
MODES: dict[str, tuple[str, ...]] = {
    "train_infer": TRAIN_MODES + INFER_MODES,
    "benchmark": ("benchmark_train",),
    "serving": ("serving_infer",),
    "paddle2onnx": ("paddle2onnx_infer",),
}


@dataclass(frozen=True)
class Rule:
    """A regular expression for a value, and how to correct a value that does not match it."""

    pattern: str
    hint: str


def one_of(*words: str) -> Rule:
    """Accept the given words."""
    return Rule("|".join(words), f"give {' or '.join(words)}")


ANYTHING = Rule(".*", "")
WORD = Rule(r"[\w.-]+", "give a name of letters, digits, '_', '.', '-'")
BOOL = one_of("True", "False")
POSITIVE = Rule("0*[1-9][0-9]*", "give an integer of at least 1")
# With a fixed path, output of an earlier run could be mistaken for output of this run.
SET_BY_RUNNER = Rule(AUTO, f"leave it {NULL} or {AUTO}: the runner puts a path of this run there")
UNSUPPORTED = Rule("(?!)", f"this project does not offer it: write {NULL}")
SCRIPT = Rule(r"(-m|\S+\.py)( .*)?", "give a script of this repository with its flags")
# 0 or 0,1: cards; -1: the CPU; -1,-1: CPU processes; ip,ip;0,1: the cards of several nodes.
DEVICES = Rule(
    r"-1(,-1)*|(\d{1,3}(\.\d{1,3}){3}(,\d{1,3}(\.\d{1,3}){3})+;)?\d+(,\d+)*",
    "give cards (0 or 0,1), CPU processes (-1 or -1,-1) or ip,ip;0,1",
)


@dataclass(frozen=True)
class Slot:
    """One line of a configuration.

    Attributes:
        name: the name that the plan uses.
        key: the words allowed before the colon; empty: a flag (``--x``), or null if unused.
        rule: checks each value except null.
        needed: whether null is an error.
        many: whether ``a|b`` means alternatives.
        by_mode: whether ``mode=value`` is allowed.
        title: text of a separator line, which has no value.
    """

    name: str
    key: tuple[str, ...] = ()
    rule: Rule = ANYTHING
    needed: bool = False
    many: bool = False
    by_mode: bool = False
    title: str | None = None


def fixed(name: str, rule: Rule = ANYTHING, **options) -> Slot:
    """A line whose key is its name."""
    return Slot(name, (name,), rule, **options)


def flag(name: str, rule: Rule = ANYTHING, **options) -> Slot:
    """A line whose key is a flag of the program, or null."""
    return Slot(name, (), rule, **options)


def title(text: str) -> Slot:
    """A line of equals signs around ``text``, or ``##`` if it is empty."""
    return Slot(text or "##", title=text)


TRAIN_INFER: tuple[Slot, ...] = (
    title("train_params"),
    fixed("model_name", WORD, needed=True),
    fixed("python", needed=True),
    fixed("gpu_list", DEVICES, needed=True, many=True),
    flag("train_device", one_of(AUTO, "cpu", "gpu")),
    flag("autocast", BOOL, many=True),
    flag("train_length", POSITIVE, needed=True, by_mode=True),
    flag("save_model", SET_BY_RUNNER, needed=True),
    flag("train_batch", POSITIVE, by_mode=True),
    flag("pretrained", by_mode=True),
    fixed("train_model_name", WORD, needed=True),
    Slot("train_infer_file", ("train_infer_file", "train_infer_img_dir", NULL), by_mode=True),
    flag("train_extra", by_mode=True),
    title(""),
    fixed("trainer", one_of("norm_train", "distill_train"), needed=True, many=True),
    fixed("norm_train", SCRIPT, needed=True),
    fixed("pact_train", UNSUPPORTED),
    fixed("fpgm_train", UNSUPPORTED),
    fixed("distill_train", SCRIPT),
    flag("trainer_extra1", by_mode=True),
    flag("trainer_extra2", by_mode=True),
    title(""),
    title("eval_params"),
    fixed("eval", SCRIPT),
    flag("eval_weights", SET_BY_RUNNER),
    title(""),
    title("infer_params"),
    flag("save_infer", SET_BY_RUNNER, needed=True),
    flag("export_weights", SET_BY_RUNNER, needed=True),
    fixed("norm_export", SCRIPT, needed=True),
    fixed("quant_export", UNSUPPORTED),
    fixed("fpgm_export", UNSUPPORTED),
    fixed("distill_export", UNSUPPORTED),
    Slot("kl_quant", ("kl_quant", "export1"), SCRIPT),
    fixed("export2", UNSUPPORTED),
    title(""),
    fixed("infer_model", many=True),
    fixed("infer_export", SCRIPT),
    fixed("infer_quant", BOOL),
    fixed("inference", SCRIPT, needed=True),
    flag("use_gpu", BOOL, needed=True, many=True),
    flag("use_mkldnn", BOOL, many=True),
    flag("cpu_threads", POSITIVE, many=True),
    flag("infer_batch", POSITIVE, many=True),
    flag("use_tensorrt", UNSUPPORTED),
    flag("precision", one_of("fp32", "fp16", "bf16", "int8"), many=True),
    flag("infer_model_dir", SET_BY_RUNNER, needed=True),
    flag("infer_input"),
    flag("save_log", SET_BY_RUNNER, needed=True),
    flag("benchmark", BOOL),
    flag("infer_extra"),
)

TRAIN_BENCHMARK: tuple[Slot, ...] = (
    title("train_benchmark_params"),
    fixed("batch_size", POSITIVE, needed=True, many=True),
    fixed("fp_items", one_of("fp32", "fp16", "bf16"), needed=True, many=True),
    Slot("bench_length", ("epoch", "max_steps"), POSITIVE, needed=True),
    flag("profiler", UNSUPPORTED),
    fixed("flags"),
)

SERVICE = "op.convbert.local_service_conf"
SERVING: tuple[Slot, ...] = (
    title("serving_params"),
    fixed("model_name", WORD, needed=True),
    fixed("python", needed=True),
    fixed("trans_model", SCRIPT, needed=True),
    flag("dirname", needed=True),
    flag("model_filename"),
    flag("params_filename"),
    flag("serving_server", SET_BY_RUNNER, needed=True),
    flag("serving_client", SET_BY_RUNNER, needed=True),
    fixed("serving_dir", needed=True),
    fixed("web_service", needed=True),
    Slot("device_type", (f"{SERVICE}.device_type",), one_of("-1", "0", "1"), True, many=True),
    Slot("serving_mkldnn", (f"{SERVICE}.use_mkldnn", NULL), BOOL, many=True),
    Slot("serving_threads", (f"{SERVICE}.thread_num", NULL), POSITIVE, many=True),
    flag("serving_tensorrt", UNSUPPORTED),
    Slot(
        "serving_precision",
        (f"{SERVICE}.precision", NULL),
        one_of("fp32", "fp16", "bf16"),
        many=True,
    ),
    Slot("pipeline", ("pipline", "pipeline"), needed=True),
    flag("client_input"),
)

PADDLE2ONNX: tuple[Slot, ...] = (
    title("paddle2onnx_params"),
    fixed("model_name", WORD, needed=True),
    fixed("python", needed=True),
    Slot("convert", ("2onnx",), needed=True),
    flag("onnx_model_dir", needed=True),
    flag("onnx_model_filename"),
    flag("onnx_params_filename"),
    flag("save_file", SET_BY_RUNNER, needed=True),
    flag("opset", Rule("1[1-9]|[2-9][0-9]", "give an integer of at least 11"), needed=True),
    flag("checker", BOOL),
    title(""),
    fixed("inference", SCRIPT, needed=True),
    flag("use_onnx", UNSUPPORTED),
    flag("onnx_file", SET_BY_RUNNER, needed=True),
    flag("use_gpu", one_of("False")),
    flag("infer_input"),
)

FORMATS: dict[str, tuple[Slot, ...]] = {
    "train_infer": TRAIN_INFER,
    "benchmark": TRAIN_INFER + TRAIN_BENCHMARK,
    "serving": SERVING,
    "paddle2onnx": PADDLE2ONNX,
}
