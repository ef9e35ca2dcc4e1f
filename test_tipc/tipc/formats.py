"""The configuration formats as tables: the meaning and the allowed values of each line.

A configuration is a numbered list of ``key:value`` lines; the position of a line gives its meaning.
``null`` means unused, ``a|b`` are alternatives that are all run, ``mode=a|mode=b`` gives each mode
its own value. The runner fills in ``auto``.
"""

from typing import NamedTuple

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
ALL_MODES = tuple(mode for modes in MODES.values() for mode in modes)


class Rule(NamedTuple):
    """A regular expression for a value, and what it accepts in words."""

    pattern: str
    words: str


def one_of(*words: str) -> Rule:
    """Accept the given words."""
    return Rule("|".join(words), " or ".join(words))


ANYTHING = Rule(".*", "any value")
WORD = Rule(r"[\w.-]+", "a name of letters, digits, '_', '.', '-'")
BOOL = one_of("True", "False")
FLOATS = one_of("fp32", "fp16", "bf16")
POSITIVE = Rule("0*[1-9][0-9]*", "an integer of at least 1")
# With a fixed path, output of an earlier run could be mistaken for output of this run.
SET_BY_RUNNER = Rule(AUTO, f"{NULL} or {AUTO} (the runner puts a path of this run there)")
UNSUPPORTED = Rule("(?!)", f"{NULL} (this project does not offer it)")
PRODUCTS = "output_dir|save_inference_dir|model_path|model_dir|save_results|output_npy|output_file"
SCRIPT = Rule(
    rf"(?!.*\s--({PRODUCTS})(=|\s|$))(-m|\S+\.py)( .*)?",
    f"a script and its flags, except those that the runner sets ({PRODUCTS})",
)
# 0 or 0,1: cards; -1: the CPU; -1,-1: CPU processes; ip,ip;0,1: the cards of several nodes.
DEVICES = Rule(
    r"-1(,-1)*|(\d{1,3}(\.\d{1,3}){3}(,\d{1,3}(\.\d{1,3}){3})+;)?\d+(,\d+)*",
    "cards (0 or 0,1), CPU processes (-1 or -1,-1) or ip,ip;0,1",
)


class Slot(NamedTuple):
    """A ``key:value`` line of a configuration."""

    name: str  # the name that the plan uses
    rule: Rule = ANYTHING  # of each value except null
    keys: tuple[str, ...] = ()  # the words allowed before the colon, if not the name
    needed: bool = False  # whether null is an error
    many: bool = False  # whether a|b means alternatives
    by_mode: bool = False  # whether mode=value is allowed


ANY_FLAG = ("--flag", NULL)  # keys: any flag of the program, or null if unused


def flag(name: str, rule: Rule = ANYTHING, **options) -> Slot:
    """A line whose key is a flag of the program, or null."""
    return Slot(name, rule, ANY_FLAG, **options)


# A separator is its text; one with a title has equals signs around it.
COMMON = (Slot("model_name", WORD, needed=True), Slot("python", needed=True))
TRAIN_INFER = (
    "train_params",
    *COMMON,
    Slot("gpu_list", DEVICES, needed=True, many=True),
    flag("train_device", one_of(AUTO, "cpu", "gpu")),
    flag("autocast", BOOL, many=True),
    flag("train_length", POSITIVE, needed=True, by_mode=True),
    flag("save_model", SET_BY_RUNNER, needed=True),
    flag("train_batch", POSITIVE, by_mode=True),
    flag("pretrained", by_mode=True),
    Slot("train_model_name", WORD, needed=True),
    Slot("train_infer_file", keys=("train_infer_file", "train_infer_img_dir", NULL), by_mode=True),
    flag("train_extra", by_mode=True),
    "##",
    Slot("trainer", one_of("norm_train", "distill_train"), needed=True, many=True),
    Slot("norm_train", SCRIPT, needed=True),
    Slot("pact_train", UNSUPPORTED),
    Slot("fpgm_train", UNSUPPORTED),
    Slot("distill_train", SCRIPT),
    flag("trainer_extra1", by_mode=True),
    flag("trainer_extra2", by_mode=True),
    "##",
    "eval_params",
    Slot("eval", SCRIPT),
    flag("eval_weights", SET_BY_RUNNER),
    "##",
    "infer_params",
    flag("save_infer", SET_BY_RUNNER, needed=True),
    flag("export_weights", SET_BY_RUNNER, needed=True),
    Slot("norm_export", SCRIPT, needed=True),
    Slot("quant_export", UNSUPPORTED),
    Slot("fpgm_export", UNSUPPORTED),
    Slot("distill_export", UNSUPPORTED),
    Slot("kl_quant", SCRIPT, ("kl_quant", "export1")),
    Slot("export2", UNSUPPORTED),
    "##",
    Slot("infer_model", many=True),
    Slot("infer_export", SCRIPT),
    Slot("infer_quant", BOOL),
    Slot("inference", SCRIPT, needed=True),
    flag("use_gpu", BOOL, needed=True, many=True),
    flag("use_mkldnn", BOOL, many=True),
    flag("cpu_threads", POSITIVE, many=True),
    flag("batch_size", POSITIVE, many=True),
    flag("use_tensorrt", UNSUPPORTED),
    flag("precision", one_of("fp32", "fp16", "bf16", "int8"), many=True),
    flag("infer_model_dir", SET_BY_RUNNER, needed=True),
    flag("infer_input"),
    flag("save_log", SET_BY_RUNNER, needed=True),
    flag("benchmark", BOOL),
    flag("infer_extra"),
)

TRAIN_BENCHMARK = (
    "train_benchmark_params",
    Slot("bench_batch", POSITIVE, ("batch_size",), needed=True, many=True),
    Slot("fp_items", FLOATS, needed=True, many=True),
    Slot("bench_length", POSITIVE, ("epoch", "max_steps"), needed=True),
    flag("profiler", UNSUPPORTED),
    Slot("flags"),
)

SERVICE = "op.convbert.local_service_conf"
DEVICE_TYPE = one_of("-1", "0", "1")  # of Paddle Serving; 1 is a GPU
SERVING = (
    "serving_params",
    *COMMON,
    Slot("trans_model", SCRIPT, needed=True),
    flag("dirname", needed=True),
    flag("model_filename"),
    flag("params_filename"),
    flag("serving_server", SET_BY_RUNNER, needed=True),
    flag("serving_client", SET_BY_RUNNER, needed=True),
    Slot("serving_dir", needed=True),
    Slot("web_service", needed=True),
    Slot("device_type", DEVICE_TYPE, (f"{SERVICE}.device_type",), needed=True, many=True),
    Slot("serving_mkldnn", BOOL, (f"{SERVICE}.use_mkldnn", NULL), many=True),
    Slot("serving_threads", POSITIVE, (f"{SERVICE}.thread_num", NULL), many=True),
    flag("serving_tensorrt", UNSUPPORTED),
    Slot("serving_precision", one_of("fp32", "fp16"), (f"{SERVICE}.precision", NULL), many=True),
    Slot("pipeline", keys=("pipline", "pipeline"), needed=True),
    flag("client_input"),
)

PADDLE2ONNX = (
    "paddle2onnx_params",
    *COMMON,
    Slot("convert", keys=("2onnx",), needed=True),
    flag("onnx_model_dir", needed=True),
    flag("onnx_model_filename"),
    flag("onnx_params_filename"),
    flag("save_file", SET_BY_RUNNER, needed=True),
    flag("opset", Rule("1[1-9]|[2-9][0-9]", "an integer of at least 11"), needed=True),
    flag("checker", BOOL),
    "##",
    Slot("inference", SCRIPT, needed=True),
    flag("use_onnx", UNSUPPORTED),
    flag("onnx_file", SET_BY_RUNNER, needed=True),
    flag("use_gpu", one_of("False")),
    flag("infer_input"),
)

FORMATS = {
    "train_infer": TRAIN_INFER,
    "benchmark": TRAIN_INFER + TRAIN_BENCHMARK,
    "serving": SERVING,
    "paddle2onnx": PADDLE2ONNX,
}
