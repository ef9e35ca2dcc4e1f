"""From a checked configuration to the list of steps that a run consists of.

Every product lies in the folder of the run. A step names the steps it needs, the files it must
have made anew, and the check that judges them; ``common_func.sh`` runs them in order.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tipc import records
from tipc.config import Config
from tipc.slots import INFER_MODES, ROOT

COMPARE = [sys.executable, "test_tipc/compare_results.py"]
WEIGHTS_FILE = "model_state.pdparams"
EXPORTED_FILES = ("inference.pdiparams", "vocab.txt")
ANSWERS_FILE = "dygraph.jsonl"


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: train, eval, export, quantize, infer ...
        command: the words of the command.
        log: where its output goes, a path.
        needs: numbers of the steps (from 1) without which it makes no sense.
        makes: files it must have written.
        check: command that judges the products; empty for none.
        kind: "run" for a command that ends; "serve" for a server, whose ``check`` are the flags of
            wait-ready; "stop" for its end, with a command that proves it.
    """

    name: str
    command: list[str]
    log: str
    needs: tuple[int, ...] = ()
    makes: tuple[str, ...] = ()
    check: list[str] = field(default_factory=list)
    kind: str = "run"


@dataclass(frozen=True)
class Engine:
    """One combination of the inference slots; None where the configuration has null."""

    use_gpu: str
    mkldnn: str | None = None
    threads: str | None = None
    precision: str | None = None
    batch: str | None = None

    @property
    def log(self) -> str:
        """TIPC's name of the log of this combination."""
        common = f"precision_{self.precision or 'null'}_batchsize_{self.batch or 'null'}.log"
        if self.use_gpu == "True":
            return f"python_infer_gpu_usetrt_null_{common}"
        mkldnn, threads = self.mkldnn or "null", self.threads or "null"
        return f"python_infer_cpu_usemkldnn_{mkldnn}_threads_{threads}_{common}"


# What each kind of engine can run; other pairs in a configuration do not exist and are left out.
PRECISIONS_OF = {"gpu": ("fp32", "fp16"), "onednn": ("fp32", "bf16", "int8"), "cpu": ("fp32",)}


def engines(config: Config, precision: str | None = None) -> Iterator[Engine]:
    """All combinations of device, oneDNN, threads, precision and batch size that exist.

    ``precision`` replaces that slot.
    """
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
                yield Engine(use_gpu, mkldnn, threads, number, batch)


class TrainInferPlan:
    """The steps of test_train_inference_python.sh.

    Args:
        config: a configuration of kind "train_infer".
        run_dir: folder of this run.
    """

    def __init__(self, config: Config, run_dir: str):
        self.config, self.run_dir = config, Path(run_dir)
        self.python = config.value("python")
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def build(self) -> list[Step]:
        """Return all steps of the configuration's mode, in order.

        Raises:
            UserError: slots that contradict each other, or inputs that are not there.
        """
        if self.config.mode in INFER_MODES:
            self._infer_given_models()
        else:
            self._train_and_infer()
        return self.steps

    def add(self, name: str, command: Sequence[str], log: Path, **options) -> int:
        """Append a step and return its number."""
        self.steps.append(Step(name, list(command), str(log), **options))
        return len(self.steps)

    def _train_and_infer(self) -> None:
        config = self.config
        for gpus, autocast, trainer in itertools.product(
            config.values("gpu_list"), config.values("autocast"), config.values("trainer")
        ):
            tag = gpus.replace(";", "_").replace(",", "_")
            folder = self.run_dir / f"{trainer}_gpus_{tag}_autocast_{autocast or 'null'}"
            trained = self._train(folder, gpus, autocast)
            checkpoint = folder / "output" / config.value("train_model_name")
            texts = config.value("train_infer_file")
            self._use_checkpoint(folder, checkpoint, texts, config.mode, needs=(trained,))

    def _train(self, folder: Path, gpus: str, autocast: str | None) -> int:
        config, output = self.config, folder / "output"
        on_cpu = gpus.startswith("-1")
        device = config.value("train_device") or ""
        if device in ("cpu", "gpu") and (device == "cpu") != on_cpu:
            raise config.fail("train_device", f"{device} contradicts gpu_list {gpus}")
        key = config.entries["train_device"].key
        command = [
            *launcher(self.python, gpus, folder / "launch"),
            *config.value("norm_train").split(),
            *([f"{key}={'cpu' if on_cpu else 'gpu'}"] if device else []),
            *config.flag("train_length"),
            f"{config.entries['save_model'].key}={output}",
            *config.flag("train_batch"),
            *config.flag("pretrained"),
            *config.flag("autocast", autocast),
            *config.flag("train_extra"),
            *config.flag("trainer_extra1"),
            *config.flag("trainer_extra2"),
        ]
        weights = output / config.value("train_model_name") / WEIGHTS_FILE
        metrics = output / "metrics.json"
        check = [*COMPARE, "train", "--metrics", str(metrics)]
        check += ["--device", "cpu" if on_cpu else "gpu"]
        check += ["--processes", str(processes(gpus))]
        if "max_steps" in config.entries["train_length"].key:
            check += ["--steps", config.value("train_length")]
        made = (str(weights), str(metrics))
        return self.add("train", command, folder / "train.log", makes=made, check=check)

    def _infer_given_models(self) -> None:
        config, texts = self.config, self.config.value("infer_input")
        for model in config.values("infer_model"):
            if model is None or not Path(ROOT, model).is_dir():
                hint = f"bash test_tipc/prepare.sh {config.path} {config.mode}"
                raise config.fail("infer_model", f"no directory '{model}': run {hint}")
            path = Path(model)
            key = path.parent.name if path.name == "best.pdparams" else path.name
            self.notes.append(f"input {model}, {records.fingerprint(Path(ROOT, model))}")
            folder = self.run_dir / key
            if config.value("infer_export"):
                self._use_checkpoint(folder, path, texts, key, needs=())
            else:
                self._infer(folder, path, texts, needs=(), reference=None, key=key)

    def _use_checkpoint(
        self, folder: Path, checkpoint: Path, texts: str | None, key: str, needs: tuple[int, ...]
    ) -> None:
        """Evaluate in dygraph, export, quantize where the mode says so, and infer."""
        evaluated, answers = self._evaluate(folder, checkpoint, texts, needs)
        exported, model = self._export(folder, checkpoint, needs)
        ready = tuple(step for step in (evaluated, exported) if step)
        if self.config.mode != "klquant_whole_infer":
            self._infer(folder, model, texts, ready, answers, key)
            return
        pairs = [(replace(engine, precision="fp32"), engine) for engine in self._int8_engines()]
        floats = {
            twin: self._infer_one(folder, model, texts, ready, answers, key, twin)
            for twin, _ in pairs
        }
        quantized, int8_model = self._quantize(folder, model, (exported,))
        # The roundings alone, the same on every CPU; then the integer kernels of this one.
        last = pairs[-1][0]
        pairs.insert(0, (last, replace(last, mkldnn="False")))
        int8, rounded = folder / "int8", ()
        for twin, engine in pairs:
            needs = (floats[twin], quantized, *rounded)
            judge = ["--baseline", str(self._results(folder, twin))]
            judge += ["--rounded", str(self._results(int8, pairs[0][1]))] if rounded else []
            step = self._infer_one(int8, int8_model, texts, needs, None, key, engine, judge)
            rounded = rounded or (step,)

    def _int8_engines(self) -> list[Engine]:
        found = list(engines(self.config, "int8"))
        if not found:
            raise self.config.fail("use_mkldnn", "int8 runs on the CPU with oneDNN: add True")
        return found

    def _evaluate(
        self, folder: Path, checkpoint: Path, texts: str | None, needs: tuple[int, ...]
    ) -> tuple[int | None, Path | None]:
        config, answers = self.config, folder / ANSWERS_FILE
        if not config.value("eval"):
            return None, None
        command = [
            self.python,
            *config.value("eval").split(),
            f"{config.entries['eval_weights'].key}={checkpoint}",
            *self._texts(texts),
            f"--output_file={answers}",
            f"--output_npy={folder / 'dygraph.npy'}",
        ]
        step = self.add("eval", command, folder / "eval.log", needs=needs, makes=(str(answers),))
        return step, answers

    def _texts(self, texts: str | None) -> list[str]:
        return self.config.flag("infer_input", texts) if texts else []

    def _export(self, folder: Path, checkpoint: Path, needs: tuple[int, ...]) -> tuple[int, Path]:
        config, target = self.config, folder / "convbert_infer"
        script = config.value("infer_export" if config.mode in INFER_MODES else "norm_export")
        command = [
            self.python,
            *script.split(),
            f"{config.entries['export_weights'].key}={checkpoint}",
            f"{config.entries['save_infer'].key}={target}",
        ]
        makes = tuple(str(target / name) for name in EXPORTED_FILES)
        log = folder / "norm_train_export.log"
        return self.add("export", command, log, needs=needs, makes=makes), target

    def _quantize(self, folder: Path, model: Path, needs: tuple[int, ...]) -> tuple[int, Path]:
        config, target = self.config, folder / "convbert_infer_int8"
        if not config.value("kl_quant"):
            raise config.fail("kl_quant", f"mode {config.mode} needs the quantization script here")
        results = folder / "quantization.json"
        command = [
            self.python,
            *config.value("kl_quant").split(),
            f"{config.entries['infer_model_dir'].key}={model}",
            f"{config.entries['save_infer'].key}={target}",
            f"{config.entries['save_log'].key}={results}",
        ]
        makes = (*(str(target / name) for name in EXPORTED_FILES), str(results))
        log = folder / "kl_quant.log"
        return self.add("quantize", command, log, needs=needs, makes=makes), target

    def _infer(self, folder, model, texts, needs, reference, key) -> None:
        precision = "int8" if self.config.value("infer_quant") == "True" else None
        for engine in engines(self.config, precision):
            self._infer_one(folder, model, texts, needs, reference, key, engine)

    def _results(self, folder: Path, engine: Engine) -> Path:
        return (folder / engine.log).with_suffix(".json")

    def _infer_one(
        self,
        folder: Path,
        model: Path,
        texts: str | None,
        needs: tuple[int, ...],
        reference: Path | None,
        key: str,
        engine: Engine,
        judge: Sequence[str] = (),
    ) -> int:
        config, results = self.config, self._results(folder, engine)
        command = [
            self.python,
            *config.value("inference").split(),
            *config.flag("use_gpu", engine.use_gpu),
            *(config.flag("use_mkldnn", engine.mkldnn) if engine.mkldnn else []),
            *(config.flag("cpu_threads", engine.threads) if engine.threads else []),
            *(config.flag("infer_batch", engine.batch) if engine.batch else []),
            *(config.flag("precision", engine.precision) if engine.precision else []),
            f"{config.entries['infer_model_dir'].key}={model}",
            *self._texts(texts),
            f"{config.entries['save_log'].key}={results}",
            f"--output_npy={results.with_suffix('.npy')}",
            *config.flag("benchmark"),
            *config.flag("infer_extra"),
        ]
        check = [*COMPARE, "infer", "--results", str(results), *expect(engine)]
        check += ["--reference", str(reference)] if reference else []
        check += judge
        check += records.arguments(config.value("model_name"), key, texts, self.notes)
        log, makes = folder / engine.log, (str(results),)
        return self.add("infer", command, log, needs=needs, makes=makes, check=check)


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
    """How many processes an entry of gpu_list means, over all nodes."""
    nodes, _, cards = gpus.rpartition(";")
    return len(cards.split(",")) * len(nodes.split(","))


def expect(engine: Engine) -> list[str]:
    """What the results file must say about the engine that made it."""
    on_gpu = engine.use_gpu == "True"
    wanted = {
        "device": "gpu" if on_gpu else "cpu",
        "use_mkldnn": engine.mkldnn,
        "cpu_threads": engine.threads,
        "precision": engine.precision,
        "batch_size": engine.batch,
    }
    return [f"--expect={name}={value}" for name, value in wanted.items() if value is not None]
