"""The chain of test_train_inference_python.sh: train, evaluate, export, quantize, infer."""

import itertools
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from paddlenlp.transformers.checkpoint import WEIGHTS_FILE
from tipc import judge
from tipc.formats import INFER_MODES
from tipc.plan import Plan, Step, combination

# The number formats on each device; other combinations are skipped.
PRECISIONS_ON = {"gpu": (None, "fp32", "fp16"), "cpu": (None, "fp32", "bf16", "int8")}
WITH_OPENVINO = ("bf16", "int8")


class Settings(NamedTuple):
    """One combination of the inference slots; None for null in the configuration."""

    use_gpu: str
    use_mkldnn: str | None
    cpu_threads: str | None
    precision: str | None
    batch_size: str | None
    engine: str | None = None  # None: Paddle Inference


def plan_train_infer(plan: Plan) -> None:
    """Add the steps for every combination of training and inference."""
    config = plan.config
    if config.mode in INFER_MODES:
        for model in config.values("infer_model"):
            if model is None:
                raise config.fail("infer_model", f"mode {config.mode} needs a checkpoint here")
            path = Path(plan.given_model("infer_model", model))
            key = path.parent.name if path.name == "best.pdparams" else path.name
            _use(plan, path, plan.folder / key, config.input("infer_input"), key)
        return
    slots = ("gpu_list", "autocast", "trainer")
    for gpus, autocast, trainer in itertools.product(*map(config.values, slots)):
        tag = re.sub("[;,]", "_", gpus)
        folder = plan.folder / f"{trainer}_gpus_{tag}_autocast_{autocast or 'null'}"
        checkpoint = _train(plan, trainer, folder, gpus, autocast)
        _use(plan, checkpoint, folder, config.input("train_infer_file"), config.mode)


def _train(plan: Plan, trainer: str, folder: Path, gpus: str, autocast: str | None) -> Path:
    """Add a training and return the checkpoint that it writes."""
    config, output = plan.config, folder / "output"
    if not config.value(trainer):
        raise config.fail(trainer, "line 15 names this trainer: give its script here")
    device, asked = device_of(gpus), config.value("train_device")
    if asked in ("cpu", "gpu") and asked != device:
        raise config.fail("train_device", f"{asked} contradicts gpu_list {gpus}")
    flags = ["train_length", "train_batch", "pretrained", "train_extra"]
    flags += ["trainer_extra1", "trainer_extra2"]
    command = plan.command(
        trainer,
        *flags,
        start=launcher(plan.python, gpus, folder / "launch"),
        train_device=device if asked else None,
        save_model=output,
        autocast=autocast,
    )
    checkpoint, metrics = output / config.value("train_model_name"), output / "metrics.json"
    by_steps = "max_steps" in config.key("train_length")
    steps = int(config.value("train_length")) if by_steps else None
    check = partial(judge.training, metrics, device, processes(gpus), steps)
    makes = checkpoint / WEIGHTS_FILE, metrics
    plan.add(Step("train", command, folder / "train.log", makes, check))
    return checkpoint


def _use(plan: Plan, model: Path, folder: Path, texts: str | None, key: str) -> None:
    """Evaluate and export a checkpoint, if it is not exported already; infer with every engine.

    ``texts`` is the file to infer on (None: the default sentence of the scripts), and ``key`` the
    name of the recorded result.
    """
    config, answers = plan.config, None
    script = "infer_export" if config.mode in INFER_MODES else "norm_export"
    exports = bool(config.value(script))
    if exports:
        if config.value("eval"):
            answers = folder / "dygraph.jsonl"
            command = plan.command("eval", eval_weights=model, infer_input=texts)
            command += [f"--output_file={answers}", f"--output_npy={answers.with_suffix('.npy')}"]
            plan.add(Step("eval", command, folder / "eval.log", [answers]))
        exported = folder / "convbert_infer"
        command = plan.command(script, export_weights=model, save_infer=exported)
        makes = exported / "inference.pdiparams", exported / "vocab.txt"
        plan.add(Step("export", command, folder / "norm_train_export.log", makes))
        model = exported
    record = judge.find_record(config.value("model_name"), key, texts, plan.notes)
    infer = partial(_infer, plan, model, folder, texts, reference=answers, gt_file=record)
    if exports and config.mode == "klquant_whole_infer":
        combinations = _combinations(plan, ["int8"])
        floats = [infer(each._replace(precision="fp32")) for each in combinations]
        int8 = _quantize(plan, model, folder)
        for settings, baseline in zip(combinations, floats):
            _infer(plan, int8, folder / "int8", texts, settings, baseline=baseline)
    else:
        quantized = config.value("infer_quant") == "True"
        for settings in _combinations(plan, ["int8"] if quantized else config.values("precision")):
            infer(settings)


def _quantize(plan: Plan, exported: Path, folder: Path) -> Path:
    """Add the quantization and return the directory of the int8 model."""
    config = plan.config
    if not config.value("kl_quant"):
        raise config.fail("kl_quant", f"mode {config.mode} needs the quantization script here")
    if "False" not in config.values("use_gpu"):
        raise config.fail("use_gpu", "int8 runs on the CPU: add False")
    target, results = folder / "convbert_infer_int8", folder / "quantization.json"
    values = {"infer_model_dir": exported, "save_infer": target, "save_log": results}
    makes = target / "inference.bin", target / "vocab.txt", results
    plan.add(Step("quantize", plan.command("kl_quant", **values), folder / "kl_quant.log", makes))
    return target


def _combinations(plan: Plan, precisions: list[str | None]) -> list[Settings]:
    """All supported combinations of the inference slots."""
    values = {slot: plan.config.values(slot) for slot in Settings._fields[:-1]}
    values["precision"] = precisions
    found = []
    for settings in itertools.starmap(Settings, itertools.product(*values.values())):
        device = "cpu"
        if settings.use_gpu == "True":
            device, settings = "gpu", settings._replace(use_mkldnn=None, cpu_threads=None)
        elif settings.precision in WITH_OPENVINO:
            settings = settings._replace(use_mkldnn=None, engine="openvino")
        # oneDNN on and off is the same to a GPU and to OpenVINO.
        if settings.precision in PRECISIONS_ON[device] and settings not in found:
            found.append(settings)
    return found


def _infer(
    plan: Plan, model: Path, folder: Path, texts: str | None, settings: Settings, **judge_by
) -> Path:
    """Add a step with one engine and return its results file."""
    device = "gpu" if settings.use_gpu == "True" else "cpu"
    values = settings._asdict()
    engine = values.pop("engine")
    name = combination(device, *settings[1:5])  # oneDNN, threads, precision, batch size
    results = folder / f"python_infer_{device}_{name}.json"
    values |= {"infer_model_dir": model, "infer_input": texts, "save_log": results}
    command = plan.command("inference", "benchmark", "infer_extra", **values)
    if engine:
        command.append(f"--engine={engine}")
    command.append(f"--output_npy={results.with_suffix('.npy')}")
    expected = {"device": device, **settings._asdict(), "use_gpu": None}
    expected = {name: value for name, value in expected.items() if value is not None}
    check = partial(judge.engine, results, expected, **judge_by)
    plan.add(Step("infer", command, results.with_suffix(".log"), [results], check))
    return results


def launcher(python: str, gpus: str, log_dir: Path) -> list[str]:
    """The words that start a training script on the given cards, CPU processes or nodes."""
    nodes, _, cards = gpus.rpartition(";")
    launch = [python, "-m", "paddle.distributed.launch", "--log_dir", str(log_dir)]
    if nodes:
        return [*launch, "--ips", nodes, "--gpus", cards]
    if cards == "-1":
        return [python]
    if cards.startswith("-1"):
        backend = ["env", "PADDLE_DISTRI_BACKEND=gloo"]
        return [*backend, *launch, "--nproc_per_node", str(processes(gpus))]
    if "," in cards:
        return [*launch, "--gpus", cards]
    return ["env", f"CUDA_VISIBLE_DEVICES={cards}", python]


def processes(gpus: str) -> int:
    """Number of processes of an entry of gpu_list, over all nodes."""
    nodes, _, cards = gpus.rpartition(";")
    return len(cards.split(",")) * len(nodes.split(","))


def device_of(gpus: str) -> str:
    """The kind of device of an entry of gpu_list."""
    return "cpu" if gpus.startswith("-1") else "gpu"
