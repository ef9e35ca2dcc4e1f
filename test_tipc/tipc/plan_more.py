"""The steps of the other chains: serving, ONNX, training benchmark."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from paddlenlp.utils.errors import UserError
from tipc import records
from tipc.config import Config
from tipc.plan import COMPARE, Step, launcher, processes
from tipc.slots import ROOT
from tipc.watch import free_ports

HELPER = [sys.executable, "test_tipc/helper.py"]
INFER = "deploy/inference_python/infer.py"
DEVICE_OF_TYPE = {"-1": "cpu", "0": "cpu", "1": "gpu"}  # Paddle Serving's device_type


class _Plan:
    """What the plans below share: a list of steps, the inputs they start from, notes."""

    def __init__(self, config: Config, run_dir: str):
        self.config, self.run_dir = config, Path(run_dir)
        self.python = config.value("python")
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def add(self, name: str, command: list[str], log: Path, **options) -> int:
        """Append a step and return its number."""
        self.steps.append(Step(name, command, str(log), **options))
        return len(self.steps)

    def exported(self, slot: str) -> str:
        """The exported model that a slot names, noted with its fingerprint.

        Raises:
            UserError: it is not there, or was changed since prepare.sh made it.
        """
        model, mode = self.config.value(slot), self.config.mode
        path = Path(ROOT, model)
        if not path.is_dir():
            hint = f"bash test_tipc/prepare.sh {self.config.path} {mode}"
            raise self.config.fail(slot, f"no directory '{model}': run {hint}")
        self.notes.append(f"input {model}, {records.fingerprint(path)}")
        return model

    def paddle_answers(self, model: str, texts: list[str]) -> int:
        """Add the step whose answers the others are compared with: Paddle Inference."""
        results = self.run_dir / "paddle.json"
        command = [self.python, INFER, f"--model_dir={model}", *texts]
        command += [f"--save_results={results}", f"--output_npy={results.with_suffix('.npy')}"]
        log, makes = self.run_dir / "paddle.log", (str(results),)
        return self.add("infer", command, log, makes=makes)


class ServingPlan(_Plan):
    """The steps of test_serving.sh: convert, then start, ask, stop for every combination."""

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        config = self.config
        model = self.exported("dirname")
        answers = self.paddle_answers(model, config.flag("client_input"))
        converted = self._convert(model)
        for device, mkldnn, threads, precision in itertools.product(
            config.values("device_type"),
            config.values("serving_mkldnn"),
            config.values("serving_threads"),
            config.values("serving_precision"),
        ):
            options = {
                "device_type": device,
                "serving_mkldnn": mkldnn,
                "serving_threads": threads,
                "serving_precision": precision,
            }
            self._serve(options, (answers, converted))
        return self.steps

    def _convert(self, model: str) -> int:
        config = self.config
        server, client = self.run_dir / "convbert_server", self.run_dir / "convbert_client"
        command = [
            self.python,
            *config.value("trans_model").split(),
            *config.flag("dirname", model),
            *config.flag("model_filename"),
            *config.flag("params_filename"),
            f"{config.entries['serving_server'].key}={server}",
            f"{config.entries['serving_client'].key}={client}",
        ]
        makes = (
            str(server / "serving_server_conf.prototxt"),
            str(client / "serving_client_conf.prototxt"),
        )
        return self.add("convert", command, self.run_dir / "convert.log", makes=makes)

    def _serve(self, options: dict, needs: tuple) -> None:
        config, device = self.config, DEVICE_OF_TYPE[options["device_type"]]
        name = self._log_name(device, options)
        folder, script_dir = self.run_dir / name, config.value("serving_dir")
        port, rpc_port = free_ports(2)
        url = f"http://127.0.0.1:{port}"
        settings = [
            f"{config.entries[slot].key}={value}" for slot, value in options.items() if value
        ]
        command = [
            self.python,
            f"{script_dir}/{config.value('web_service')}",
            f"--model_dir={self.run_dir / 'convbert_server'}",
            f"--port={port}",
            f"--rpc_port={rpc_port}",
            f"--run_dir={folder / 'run'}",
            *(["--opt", *settings] if settings else []),
        ]
        ready = [f"--url={url}/health", f"--expect=device={device}"]
        log = folder / "server.log"
        server = self.add("serve", command, log, needs=needs, check=ready, kind="serve")
        answers = self.run_dir / f"{name}.jsonl"
        ask = [
            self.python,
            f"{script_dir}/{config.value('pipeline')}",
            f"--url={url}/convbert/prediction",
            *config.flag("client_input"),
            f"--output_file={answers}",
        ]
        check = [*COMPARE, "answers", "--answers", str(answers)]
        check += ["--reference", str(self.run_dir / "paddle.json")]
        check += ["--precision", options["serving_precision"] or "fp32"]
        log, makes = self.run_dir / f"{name}.log", (str(answers),)
        self.add("client", ask, log, needs=(server,), makes=makes, check=check)
        closed = [*HELPER, "ports-free", str(port), str(rpc_port)]
        self.add("stop", closed, folder / "stop.log", needs=(server,), kind="stop")

    @staticmethod
    def _log_name(device: str, options: dict) -> str:
        """TIPC's name of the client's log of this combination, without ``.log``."""
        precision = options["serving_precision"] or "null"
        if device == "gpu":
            return f"server_infer_gpu_pipeline_http_usetrt_null_precision_{precision}_batchsize_1"
        mkldnn, threads = options["serving_mkldnn"] or "null", options["serving_threads"] or "null"
        engine = f"usemkldnn_{mkldnn}_threads_{threads}_precision_{precision}"
        return f"server_infer_cpu_pipeline_http_{engine}_batchsize_1"


class OnnxPlan(_Plan):
    """The steps of test_paddle2onnx.sh: Paddle Inference, conversion, ONNX Runtime, comparison."""

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        config = self.config
        model = self.exported("onnx_model_dir")
        texts = config.flag("infer_input")
        answers = self.paddle_answers(model, texts)
        target = self.run_dir / "convbert_onnx"
        file = target / "model.onnx"
        convert = [
            *config.value("convert").split(),
            *config.flag("onnx_model_dir", model),
            *config.flag("onnx_model_filename"),
            *config.flag("onnx_params_filename"),
            f"{config.entries['save_file'].key}={file}",
            *config.flag("opset"),
            *config.flag("checker"),
        ]
        log = self.run_dir / "paddle2onnx.log"
        converted = self.add("convert", convert, log, makes=(str(file),))
        results = self.run_dir / "onnx.json"
        infer = [
            self.python,
            *config.value("inference").split(),
            f"{config.entries['onnx_file'].key}={file}",
            f"--model_dir={model}",
            *texts,
            f"--save_results={results}",
            f"--output_npy={results.with_suffix('.npy')}",
        ]
        check = [*COMPARE, "infer", "--results", str(results), "--expect=device=cpu"]
        check += ["--reference", str(self.run_dir / "paddle.json")]
        log, needs = self.run_dir / "paddle2onnx_infer_cpu.log", (answers, converted)
        self.add("infer", infer, log, needs=needs, makes=(str(results),), check=check)
        return self.steps


class BenchmarkPlan(_Plan):
    """The steps of benchmark_train.sh: one training and its speed per combination.

    Args:
        config: a configuration with a benchmark block.
        run_dir: folder of this run.
        case: TIPC's name of one combination, such as ``dynamic_bs8_fp32_DP_N1C1``; empty: all.
    """

    def __init__(self, config: Config, run_dir: str, case: str = ""):
        super().__init__(config, run_dir)
        self.case = case

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        for batch, precision, devices in self._cases():
            self._benchmark(batch, precision, devices)
        return self.steps

    def _cases(self) -> list[tuple]:
        """Batch size, number format and device tag (N1C2: one node, two cards) of each run."""
        config = self.config
        if not self.case:
            pairs = itertools.product(config.values("batch_size"), config.values("fp_items"))
            return [(batch, precision, "N1C1") for batch, precision in pairs]
        parts = self.case.split("_")
        if len(parts) != 5 or not parts[1].startswith("bs") or parts[3] != "DP":
            raise UserError(
                "command-line", f"'{self.case}': give a case such as dynamic_bs8_fp32_DP_N1C1"
            )
        _, batch, precision, _, devices = parts
        if devices not in DEVICE_TAGS:
            raise UserError(
                "command-line", f"'{self.case}': devices are one of {', '.join(DEVICE_TAGS)}"
            )
        return [(batch[2:], precision.replace("null", "fp32"), devices)]

    def _benchmark(self, batch: str, precision: str, devices: str) -> None:
        config, cards = self.config, DEVICE_TAGS[devices]
        on_cpu = config.values("gpu_list")[0].startswith("-1")
        if precision != "fp32" and on_cpu:
            raise config.fail("fp_items", f"{precision} needs a GPU, gpu_list says CPU")
        gpus = ",".join(["-1"] * cards) if on_cpu else ",".join(map(str, range(cards)))
        run_type = "SingleP" if cards == 1 else "MultiP"
        name = f"{config.value('model_name')}_bs{batch}_{precision}_{run_type}_DP_{devices}"
        output = self.run_dir / name
        length = config.entries["bench_length"]
        flags = {"max_steps": "--max_steps", "epoch": "--num_train_epochs"}
        command = [
            *self._environment(),
            *launcher(self.python, gpus, self.run_dir / f"{name}_launch"),
            *config.value("norm_train").split(),
            f"{config.entries['train_device'].key}={'cpu' if on_cpu else 'gpu'}",
            f"{flags[length.key]}={length.value}",
            f"{config.entries['save_model'].key}={output}",
            f"{config.entries['train_batch'].key}={batch}",
            *config.flag("pretrained"),
            *AMP_FLAGS[precision],
            *config.flag("train_extra"),
        ]
        metrics = output / "metrics.json"
        check = [*COMPARE, "train", "--metrics", str(metrics), "--device"]
        check += ["cpu" if on_cpu else "gpu", "--processes", str(processes(gpus))]
        log, makes = self.run_dir / "train_log" / f"{name}_log", (str(metrics),)
        trained = self.add("train", command, log, makes=makes, check=check)
        speed = self.run_dir / "index" / f"{name}_speed"
        report = [self.python, HELPER[1], "speed", "--output_dir", str(output), "--name", name]
        report += ["--batch_size", batch, "--precision", precision, "--speed_file", str(speed)]
        log = self.run_dir / "index" / f"{name}_speed_log"
        self.add("speed", report, log, needs=(trained,), makes=(str(speed),))

    def _environment(self) -> list[str]:
        flags: str | None = self.config.value("flags")
        return ["env", *flags.split(";")] if flags else []


DEVICE_TAGS = {"N1C1": 1, "N1C2": 2, "N1C4": 4, "N1C8": 8}
AMP_FLAGS = {
    "fp32": [],
    "fp16": ["--use_amp=True", "--amp_dtype=float16"],
    "bf16": ["--use_amp=True", "--amp_dtype=bfloat16"],
}
