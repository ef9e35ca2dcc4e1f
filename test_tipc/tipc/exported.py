"""The chains that convert an exported model, and compare its answers with Paddle Inference."""

from __future__ import annotations

import itertools
import shutil
from functools import partial
from pathlib import Path

from tipc import judge
from tipc.plan import Plan, combination
from tipc.processes import free_ports

INFER = "deploy/inference_python/infer.py"
DEVICE_OF_TYPE = {"-1": "cpu", "0": "cpu", "1": "gpu"}  # Paddle Serving's device_type
ENGINE = "op.convbert.local_service_conf.engine=paddle"  # the settings below are for this engine
SETTINGS = ("device_type", "serving_mkldnn", "serving_threads", "serving_precision")


def plan_serving(plan: Plan) -> None:
    """Add the steps of test_serving.sh: convert, then one service for each combination."""
    config, folder = plan.config, plan.folder
    scripts = config.input("serving_dir")
    service = config.existing("web_service", f"{scripts}/{config.value('web_service')}")
    client = config.existing("pipeline", f"{scripts}/{config.value('pipeline')}")
    model = plan.given_model("dirname", config.value("dirname"))
    texts = config.flag("client_input")
    reference = _paddle_answers(plan, model, texts)

    served = folder / "convbert_server"
    values = {"dirname": model, "serving_server": served}
    values["serving_client"] = folder / "convbert_client"
    command = plan.command("trans_model", "model_filename", "params_filename", **values)
    makes = [
        values[name] / f"{name}_conf.prototxt" for name in ("serving_server", "serving_client")
    ]
    plan.add("convert", command, folder / "convert.log", *makes)

    for settings in itertools.product(*map(config.values, SETTINGS)):
        device_type, *engine, precision = settings
        device, ports = DEVICE_OF_TYPE[device_type], free_ports(2)
        name = f"server_infer_{device}_pipeline_http_{combination(device, *engine, precision, 1)}"
        url = f"http://127.0.0.1:{ports[0]}"
        serve = [
            plan.python,
            service,
            f"--model_dir={served}",
            f"--run_dir={folder / name / 'run'}",
        ]
        serve += [f"--port={ports[0]}", f"--rpc_port={ports[1]}", "--opt", ENGINE]
        for slot, value in zip(SETTINGS, settings):
            serve += config.set(slot, value)
        ready = {"url": f"{url}/health", "device": device}
        server = plan.add("serve", serve, folder / name / "server.log", **ready)
        answers = folder / f"{name}.jsonl"
        ask = [plan.python, client, f"--url={url}/convbert/prediction", *texts]
        ask.append(f"--output_file={answers}")
        check = partial(judge.answers, answers, reference, precision or "fp32")
        plan.add("client", ask, folder / f"{name}.log", answers, check=check, needs=[server])
        stop = ["kill", "-TERM", f"pid-of-step-{server}"]
        plan.add("stop", stop, folder / name / "stop.log", needs=[server], frees=ports)


def plan_onnx(plan: Plan) -> None:
    """Add the steps of test_paddle2onnx.sh: convert, then infer with ONNX Runtime."""
    config, folder = plan.config, plan.folder
    model = plan.given_model("onnx_model_dir", config.value("onnx_model_dir"))
    texts = config.flag("infer_input")
    reference = _paddle_answers(plan, model, texts)

    file, results = folder / "convbert_onnx" / "model.onnx", folder / "onnx.json"
    converter, *words = config.script("convert")
    if shutil.which(converter) is None:
        raise config.fail("convert", f"'{converter}' is not a program on the PATH")
    convert = [converter, *words, *config.set("onnx_model_dir", model)]
    for slot in ("onnx_model_filename", "onnx_params_filename", "opset", "checker"):
        convert += config.flag(slot)
    convert += config.set("save_file", file)
    plan.add("convert", convert, folder / "paddle2onnx.log", file)

    infer = plan.command("inference", onnx_file=file)
    infer += [f"--model_dir={model}", *texts, *_result_flags(results)]
    check = partial(judge.engine, results, {"device": "cpu"}, reference=reference)
    plan.add("infer", infer, folder / "paddle2onnx_infer_cpu.log", results, check=check)


def _paddle_answers(plan: Plan, model: str, texts: list[str]) -> Path:
    """Add a step with Paddle Inference, whose answers are the reference for other engines."""
    results = plan.folder / "paddle.json"
    command = [plan.python, INFER, f"--model_dir={model}", *texts, *_result_flags(results)]
    plan.add("infer", command, plan.folder / "paddle.log", results)
    return results


def _result_flags(results: Path) -> list[str]:
    """The flags for the output files of an inference script."""
    return [f"--save_results={results}", f"--output_npy={results.with_suffix('.npy')}"]
