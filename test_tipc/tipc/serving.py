"""The chain of test_serving.sh: convert, then start, request and stop for each combination."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

from tipc import judge
from tipc.config import ROOT
from tipc.plan import Plan, StartServer, Step, StopServer
from tipc.processes import free_ports

DEVICE_OF_TYPE = {"-1": "cpu", "0": "cpu", "1": "gpu"}  # Paddle Serving's device_type
ENGINE = "op.convbert.local_service_conf.engine=paddle"  # the settings below are for this engine
SETTINGS = ("device_type", "serving_mkldnn", "serving_threads", "serving_precision")


class ServingPlan(Plan):
    """The steps of the serving chain."""

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        config = self.config
        config.input("serving_dir")
        for slot in ("web_service", "pipeline"):
            if not (ROOT / self._script(slot)).is_file():
                raise config.fail(slot, f"'{self._script(slot)}' does not exist", "file-missing")
        model = self.given_model("dirname", config.value("dirname"))
        reference = self.paddle_answers(model, config.flag("client_input"))
        server = self._convert(model)
        for values in itertools.product(*map(config.values, SETTINGS)):
            self._serve(server, dict(zip(SETTINGS, values)), reference)
        return self.steps

    def _script(self, slot: str) -> str:
        return f"{self.config.value('serving_dir')}/{self.config.value(slot)}"

    def _convert(self, model: str) -> Path:
        server, client = self.run_dir / "convbert_server", self.run_dir / "convbert_client"
        values = {"dirname": model, "serving_server": server, "serving_client": client}
        command = self.command("trans_model", "model_filename", "params_filename", **values)
        makes = server / "serving_server_conf.prototxt", client / "serving_client_conf.prototxt"
        self.add("convert", command, self.run_dir / "convert.log", *makes)
        return server

    def _serve(self, model: Path, settings: dict[str, str | None], reference: Path) -> None:
        config, device = self.config, DEVICE_OF_TYPE[settings["device_type"]]
        name = _log_name(device, settings)
        folder, ports = self.run_dir / name, free_ports(2)
        url = f"http://127.0.0.1:{ports[0]}"
        keys = {slot: config.entries[slot].key for slot in settings}
        serve = [self.python, self._script("web_service"), f"--model_dir={model}"]
        serve += [f"--port={ports[0]}", f"--rpc_port={ports[1]}", f"--run_dir={folder / 'run'}"]
        serve += ["--opt", ENGINE]
        serve += [f"{keys[slot]}={value}" for slot, value in settings.items() if value]
        ready = {"kind": StartServer, "url": f"{url}/health", "device": device}
        server = self.add("serve", serve, folder / "server.log", **ready)
        answers = self.run_dir / f"{name}.jsonl"
        ask = [self.python, self._script("pipeline"), f"--url={url}/convbert/prediction"]
        ask += [*config.flag("client_input"), f"--output_file={answers}"]
        precision = settings["serving_precision"] or "fp32"
        check = partial(judge.answers, answers, reference, precision)
        log, needs = self.run_dir / f"{name}.log", {server}
        self.add("client", ask, log, answers, check=check, needs=needs)
        stop = ["kill", "-TERM", f"pid-of-step-{server}"]
        options = {"kind": StopServer, "needs": needs, "ports": ports}
        self.add("stop", stop, folder / "stop.log", **options)


def _log_name(device: str, settings: dict[str, str | None]) -> str:
    """TIPC's name of the client's log of this combination, without ``.log``."""
    _, mkldnn, threads, precision = (value or "null" for value in settings.values())
    if device == "gpu":
        return f"server_infer_gpu_pipeline_http_usetrt_null_precision_{precision}_batchsize_1"
    engine = f"usemkldnn_{mkldnn}_threads_{threads}_precision_{precision}"
    return f"server_infer_cpu_pipeline_http_{engine}_batchsize_1"
