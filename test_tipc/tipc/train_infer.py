"""The chain of test_train_inference_python.sh: train, evaluate, export, quantize, infer."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tipc import judge
from tipc.formats import INFER_MODES
from tipc.plan import Plan, Step

WEIGHTS_FILE = "model_state.pdparams"
EXPORTED_FILES = ("inference.pdiparams", "vocab.txt")
QUANTIZED_FILES = ("inference.bin", "vocab.txt")
# The number formats that Paddle Inference supports on each device; other combinations are skipped.
PRECISIONS_OF = {"gpu": ("fp32", "fp16"), "onednn": ("fp32", "bf16"), "cpu": ("fp32",)}


@dataclass(frozen=True)
class Engine:
    """One combination of the inference slots; None for null in the configuration."""

    use_gpu: str
    use_mkldnn: str | None
    cpu_threads: str | None
    precision: str | None
    infer_batch: str | None
    engine: str | None = None  # None: Paddle Inference, with or without oneDNN

    @property
    def name(self) -> str:
        """TIPC's name of the log of this combination, without ``.log``."""
        common = f"precision_{self.precision or 'null'}_batchsize_{self.infer_batch or 'null'}"
        if self.use_gpu == "True":
            return f"python_infer_gpu_usetrt_null_{common}"
        mkldnn, threads = self.use_mkldnn or "null", self.cpu_threads or "null"
        return f"python_infer_cpu_usemkldnn_{mkldnn}_threads_{threads}_{common}"

    @property
    def expected(self) -> dict[str, str]:
        """The settings that the results file must report."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        values["device"] = "gpu" if values.pop("use_gpu") == "True" else "cpu"
        if "infer_batch" in values:
            values["batch_size"] = values.pop("infer_batch")
        return values


@dataclass(frozen=True)
class Model:
    """A checkpoint, or a model for inference.

    Attributes:
        model: its directory.
        folder: for the results.
        texts: file to infer on; None: the default sentence of the scripts.
        key: name of the recorded result.
        reference: answers to compare the engines with.
    """

    model: Path
    folder: Path
    texts: str | None
    key: str
    reference: Path | None = None

    def results(self, engine: Engine) -> Path:
        """The results file of an engine."""
        return self.folder / f"{engine.name}.json"


class TrainInferPlan(Plan):
    """The steps for every combination of training and inference."""

    def build(self) -> list[Step]:
        """Return all steps of the mode, in order."""
        config = self.config
        if config.mode in INFER_MODES:
            for model in config.values("infer_model"):
                self._infer_given(model)
            return self.steps
        for gpus, autocast, trainer in itertools.product(
            config.values("gpu_list"), config.values("autocast"), config.values("trainer")
        ):
            tag = gpus.replace(";", "_").replace(",", "_")
            folder = self.run_dir / f"{trainer}_gpus_{tag}_autocast_{autocast or 'null'}"
            checkpoint = self._train(trainer, folder, gpus, autocast)
            self._use(Model(checkpoint, folder, config.input("train_infer_file"), config.mode))
        return self.steps

    def _train(self, trainer: str, folder: Path, gpus: str, autocast: str | None) -> Path:
        config, output = self.config, folder / "output"
        if not config.value(trainer):
            raise config.fail(trainer, "line 15 names this trainer: give its script here")
        device, asked = device_of(gpus), config.value("train_device")
        if asked in ("cpu", "gpu") and asked != device:
            raise config.fail("train_device", f"{asked} contradicts gpu_list {gpus}")
        command = self.command(
            trainer,
            *("train_length", "train_batch", "pretrained"),
            *("train_extra", "trainer_extra1", "trainer_extra2"),
            start=launcher(self.python, gpus, folder / "launch"),
            train_device=device if asked else None,
            save_model=output,
            autocast=autocast,
        )
        checkpoint = output / config.value("train_model_name")
        by_steps = "max_steps" in config.entries["train_length"].key
        steps = int(config.value("train_length")) if by_steps else None
        metrics = output / "metrics.json"
        check = partial(judge.training, metrics, device, processes(gpus), steps)
        weights = checkpoint / WEIGHTS_FILE
        self.add("train", command, folder / "train.log", weights, metrics, check=check)
        return checkpoint

    def _infer_given(self, model: str | None) -> None:
        config = self.config
        if model is None:
            raise config.fail("infer_model", f"mode {config.mode} needs a checkpoint here")
        path = Path(self.given_model("infer_model", model))
        key = path.parent.name if path.name == "best.pdparams" else path.name
        given = Model(path, self.run_dir / key, config.input("infer_input"), key)
        if config.value("infer_export"):
            self._use(given)
        else:
            self._infer(given)

    def _use(self, checkpoint: Model) -> None:
        """Evaluate a checkpoint in dygraph mode, export it, quantize it in that TIPC mode, and
        infer."""
        answers = self._evaluate(checkpoint) if self.config.value("eval") else None
        exported = replace(checkpoint, model=self._export(checkpoint), reference=answers)
        if self.config.mode == "klquant_whole_infer":
            self._infer_quantized(exported)
        else:
            self._infer(exported)

    def _evaluate(self, checkpoint: Model) -> Path:
        answers, log = checkpoint.folder / "dygraph.jsonl", checkpoint.folder / "eval.log"
        command = self.command("eval", eval_weights=checkpoint.model, infer_input=checkpoint.texts)
        command += [f"--output_file={answers}", f"--output_npy={answers.with_suffix('.npy')}"]
        self.add("eval", command, log, answers)
        return answers

    def _export(self, checkpoint: Model) -> Path:
        target, log = checkpoint.folder / "convbert_infer", "norm_train_export.log"
        script = "infer_export" if self.config.mode in INFER_MODES else "norm_export"
        command = self.command(script, export_weights=checkpoint.model, save_infer=target)
        made = [target / name for name in EXPORTED_FILES]
        self.add("export", command, checkpoint.folder / log, *made)
        return target

    def _quantize(self, exported: Model) -> Path:
        target = exported.folder / "convbert_infer_int8"
        results = exported.folder / "quantization.json"
        values = {"infer_model_dir": exported.model, "save_infer": target, "save_log": results}
        command = self.command("kl_quant", **values)
        made = [target / name for name in QUANTIZED_FILES]
        self.add("quantize", command, exported.folder / "kl_quant.log", *made, results)
        return target

    def _infer_quantized(self, floats: Model) -> None:
        """Infer with int8; compare each engine with the float one of the same settings."""
        config = self.config
        if not config.value("kl_quant"):
            raise config.fail("kl_quant", f"mode {config.mode} needs the quantization script here")
        if "--engine paddle" in " ".join(config.script("kl_quant")).replace("=", " "):
            how = "use --engine openvino, which needs --dev_file"
            raise config.fail("kl_quant", f"--engine paddle has no int8: {how}")
        engines = self._engines("int8")
        if not engines:
            raise config.fail("use_gpu", "int8 runs on the CPU: add False")
        twins = [replace(engine, precision="fp32") for engine in engines]
        for twin in twins:
            self._infer_one(floats, twin)
        target = self._quantize(floats)
        int8 = replace(floats, model=target, folder=floats.folder / "int8", reference=None)
        for engine, twin in zip(engines, twins):
            self._infer_one(int8, engine, baseline=floats.results(twin))

    def _infer(self, exported: Model) -> None:
        for engine in self._engines("int8" if self.config.value("infer_quant") == "True" else None):
            self._infer_one(exported, engine)

    def _engines(self, precision: str | None = None) -> list[Engine]:
        """All supported combinations; ``precision`` replaces the slot. int8 runs with OpenVINO."""
        config, found = self.config, []
        precisions = [precision] if precision else config.values("precision")
        for use_gpu in config.values("use_gpu"):
            on_cpu = use_gpu == "False"
            for mkldnn, threads, number, batch in itertools.product(
                config.values("use_mkldnn") if on_cpu else [None],
                config.values("cpu_threads") if on_cpu else [None],
                precisions,
                config.values("infer_batch"),
            ):
                kind = "gpu" if not on_cpu else "cpu" if mkldnn == "False" else "onednn"
                if number is None or number in PRECISIONS_OF[kind]:
                    found.append(Engine(use_gpu, mkldnn, threads, number, batch))
                elif number == "int8" and on_cpu:
                    found.append(Engine(use_gpu, None, threads, number, batch, "openvino"))
        return list(dict.fromkeys(found))  # oneDNN on and off is the same to OpenVINO

    def _infer_one(self, exported: Model, engine: Engine, **judge_by: Path) -> None:
        results, texts = exported.results(engine), exported.texts
        values = {"infer_model_dir": exported.model, "infer_input": texts, "save_log": results}
        values |= {name: value for name, value in asdict(engine).items() if name != "engine"}
        command = self.command("inference", "benchmark", "infer_extra", **values)
        command += [f"--engine={engine.engine}"] if engine.engine else []
        command.append(f"--output_npy={results.with_suffix('.npy')}")
        if "baseline" not in judge_by:  # the recorded results are for float engines
            model_name = self.config.value("model_name")
            judge_by["gt_file"] = judge.find_record(model_name, exported.key, texts, self.notes)
        judge_by["reference"] = exported.reference
        check = partial(judge.engine, results, engine.expected, **judge_by)
        self.add("infer", command, results.with_suffix(".log"), results, check=check)


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
