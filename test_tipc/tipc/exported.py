"""The chains that convert an exported model, and compare its answers with Paddle Inference."""

import itertools
import shutil
import socket
from functools import partial
from pathlib import Path

from tipc import judge
from tipc.plan import Plan, Step, combination

INFER = "deploy/inference_python/infer.py"
LOOPBACK = ("127.0.0.1", 0)  # with any free port
DEVICE_OF_TYPE = {"-1": "cpu", "0": "cpu", "1": "gpu"}  # Paddle Serving's device_type
ENGINE = "op.convbert.local_service_conf.engine=paddle"  # the settings below are for this engine
SETTINGS = ("device_type", "serving_mkldnn", "serving_threads", "serving_precision")


def plan_serving(plan: Plan) -> None:
    """Add the steps of test_serving.sh: convert, then one service for each combination."""
    config, folder = plan.config, plan.folder
    model = plan.given_model("dirname", config.value("dirname"))
    texts = config.flag("client_input")
    reference = _paddle_answers(plan, model, texts)
    server, client = folder / "convbert_server", folder / "convbert_client"
    values = {"dirname": model, "serving_server": server, "serving_client": client}
    command = plan.command("trans_model", "model_filename", "params_filename", **values)
    makes = server / "serving_server_conf.prototxt", client / "serving_client_conf.prototxt"
    plan.add(Step("convert", command, folder / "convert.log", makes))
    for settings in itertools.product(*map(config.values, SETTINGS)):
        _serve(plan, server, settings, texts, reference)


def _serve(plan: Plan, model: Path, settings: tuple, texts: list[str], reference: Path) -> None:
    config, scripts = plan.config, plan.config.input("serving_dir")
    service = config.existing("web_service", f"{scripts}/{config.value('web_service')}")
    client = config.existing("pipeline", f"{scripts}/{config.value('pipeline')}")
    device = DEVICE_OF_TYPE[settings[0]]
    with socket.create_server(LOOPBACK) as first, socket.create_server(LOOPBACK) as second:
        ports = first.getsockname()[1], second.getsockname()[1]  # not in use now
    name = f"server_infer_{device}_pipeline_http_{combination(device, *settings[1:], 1)}"
    url, folder = f"http://127.0.0.1:{ports[0]}", plan.folder / name
    serve = [plan.python, service, f"--model_dir={model}", f"--run_dir={folder / 'run'}"]
    serve += [f"--port={ports[0]}", f"--rpc_port={ports[1]}", "--opt", ENGINE]
    for slot, value in zip(SETTINGS, settings):
        serve += config.set(slot, value)
    page = f"{url}/health"
    number = plan.add(Step("serve", serve, folder / "server.log", url=page, device=device))
    answers = plan.folder / f"{name}.jsonl"
    ask = [plan.python, client, f"--url={url}/convbert/prediction", *texts]
    ask.append(f"--output_file={answers}")
    check = partial(judge.engine, answers, {}, reference, precision=settings[-1] or "fp32")
    plan.add(Step("client", ask, answers.with_suffix(".log"), [answers], check, [number]))
    stop = ["kill", "-TERM", f"pid-of-step-{number}"]
    plan.add(Step("stop", stop, folder / "stop.log", needs=[number], frees=ports))


def plan_onnx(plan: Plan) -> None:
    """Add the steps of test_paddle2onnx.sh: convert, then infer with ONNX Runtime."""
    config, folder = plan.config, plan.folder
    model = plan.given_model("onnx_model_dir", config.value("onnx_model_dir"))
    texts = config.flag("infer_input")
    reference = _paddle_answers(plan, model, texts)

    file, results = folder / "convbert_onnx" / "model.onnx", folder / "onnx.json"
    flags = ("onnx_model_filename", "onnx_params_filename", "opset", "checker")
    values = {"onnx_model_dir": model, "save_file": file}
    convert = plan.command("convert", *flags, start=[], **values)
    if shutil.which(convert[0]) is None:
        setup = "run .venv/bin/pip install -r requirements-onnx.txt"
        message = f"'{convert[0]}' is not a program on the PATH: {setup}"
        raise config.fail("convert", message, "environment")
    plan.add(Step("convert", convert, folder / "paddle2onnx.log", [file]))
    infer = plan.command("inference", onnx_file=file)
    infer += [f"--model_dir={model}", *texts, *_result_flags(results)]
    check = partial(judge.engine, results, {"device": "cpu"}, reference=reference)
    plan.add(Step("infer", infer, folder / "paddle2onnx_infer_cpu.log", [results], check))


def _paddle_answers(plan: Plan, model: str, texts: list[str]) -> Path:
    """Add a step with Paddle Inference, whose answers are the reference for other engines."""
    results = plan.folder / "paddle.json"
    command = [plan.python, INFER, f"--model_dir={model}", *texts, *_result_flags(results)]
    plan.add(Step("infer", command, plan.folder / "paddle.log", [results]))
    return results


def _result_flags(results: Path) -> list[str]:
    """The flags for the output files of an inference script."""
    return [f"--save_results={results}", f"--output_npy={results.with_suffix('.npy')}"]
