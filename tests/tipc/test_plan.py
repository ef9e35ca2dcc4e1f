"""The steps of the TIPC chains: what each must write, what judges it, which flags it gets."""

import json
from pathlib import Path

import pytest

from paddlenlp.utils.products import sha256
from tests.helpers.errors import raises_code
from tests.helpers.tipc import CONFIGS, CPU_CONFIG, SERVING_CONFIG, changed
from tipc import judge
from tipc.benchmark import plan_benchmark, steady_ips
from tipc.config import read_config
from tipc.exported import plan_onnx, plan_serving
from tipc.plan import Plan
from tipc.train_infer import launcher, plan_train_infer, processes

ONNX_CONFIG = CONFIGS / "model_linux_cpu_normal_normal_paddle2onnx_python_linux_cpu.txt"
LITE = "lite_train_lite_infer"
RUN = Path("RUN")


@pytest.fixture
def plan(tmp_path):
    """Return ``make(kind, mode, lines)``: the plan of a configuration with these lines."""
    model, texts = tmp_path / "mine", tmp_path / "dev.tsv"
    model.mkdir()
    (model / "weights").write_text("w")
    texts.write_text("sentence\tlabel\na\t1\n")
    training = {
        10: f"--model_name_or_path:{model}",
        12: f"train_infer_file:{texts}",
        13: f"--data_dir:{tmp_path}",
        34: f"kl_quant:tools/quantize_model.py --calib_file {texts}",
        37: f"infer_model:{model}",
        48: f"--input_file:{texts}",
    }
    served = {5: f"--dirname:{model}", 18: f"--input_file:{texts}"}
    onnx = {4: "2onnx:sh", 5: f"--model_dir:{model}", 16: f"--input_file:{texts}"}
    kinds = {
        "train_infer": (plan_train_infer, CPU_CONFIG, training),
        "benchmark": (plan_benchmark, CPU_CONFIG, training),
        "serving": (plan_serving, SERVING_CONFIG, served),
        "paddle2onnx": (plan_onnx, ONNX_CONFIG, onnx),
    }

    def make(kind, mode, lines=None, *option):
        add_steps, source, fixed = kinds[kind]
        path = tmp_path / "config.txt"
        path.write_text(changed(source, {**fixed, **(lines or {})}))
        made = Plan(read_config(str(path), kind, mode), RUN)
        add_steps(made, *option)
        return made

    return make


def named(plan, name):
    return [step for step in plan.steps if step.name == name]


def written(step):
    return {path.name for path in step.makes}


def needed(plan, step):
    """The names of the steps that a step needs."""
    return {plan.steps[number - 1].name for number in step.needs}


def judged(step):
    """The arguments of a step's check."""
    names = step.check.func.__code__.co_varnames
    return {**dict(zip(names, step.check.args)), **step.check.keywords}


def test_training(plan):
    made = plan(
        "train_infer", LITE, {6: "--use_amp:False", 20: "--logging_steps:5", 21: "--seed:7"}
    )
    first, second = named(made, "train")
    assert written(first) == {"model_state.pdparams", "metrics.json"}
    assert judged(first)["device"] == "cpu"
    assert judged(first)["steps"] == 4
    assert [judged(step)["processes"] for step in (first, second)] == [1, 2]
    flags = {"--device=cpu", "--max_steps=4", "--batch_size=8", "--use_amp=False"}
    assert {*flags, "--logging_steps=5", "--seed=7"} <= set(first.command)
    (gpu,) = named(plan("train_infer", LITE, {4: "gpu_list:0"}), "train")
    assert "--device=gpu" in gpu.command
    assert judged(gpu)["device"] == "gpu"


def test_the_trainer_chooses_the_script(plan, tmp_path):
    (tmp_path / "logits.npz").write_text("")
    script = f"train.py --teacher_logits {tmp_path / 'logits.npz'}"
    lines = {4: "gpu_list:-1", 15: "trainer:distill_train", 19: f"distill_train:{script}"}
    (train,) = named(plan("train_infer", LITE, lines), "train")
    assert " ".join(train.command).startswith(f"python3 {script} ")
    assert train.log == RUN / "distill_train_gpus_-1_autocast_null" / "train.log"
    for wrong, code in (
        ("distill_train:null", "tipc-config"),
        ("distill_train:train.py --teacher_logits no.npz", "file-missing"),
    ):
        with raises_code(code, "line 19"):
            plan("train_infer", LITE, {**lines, 19: wrong})


def test_every_product_lies_in_the_run_folder(plan):
    for step in plan("train_infer", LITE).steps:
        assert all(RUN in path.parents for path in (step.log, *step.makes))


def test_int8_needs_the_cpu(plan):
    with raises_code("tipc-config", "line 41 "):
        plan("train_infer", "klquant_whole_infer", {41: "--use_gpu:True"})


def test_a_model_that_is_int8_already(plan):
    made = plan("train_infer", "whole_infer", {38: "infer_export:null", 39: "infer_quant:True"})
    assert [step.name for step in made.steps] == ["infer"] * 4
    expected = [judged(step)["expect"] for step in made.steps]
    assert {(row["engine"], row["precision"]) for row in expected} == {("openvino", "int8")}


def test_number_formats_go_where_they_can_run(plan):
    lines = {41: "--use_gpu:True|False", 42: "--use_mkldnn:True|False", 43: "--cpu_threads:2"}
    lines.update({44: "--batch_size:8", 46: "--precision:fp32|fp16|bf16"})
    logs = {step.log.name for step in named(plan("train_infer", LITE, lines), "infer")}
    cpu = "python_infer_cpu_usemkldnn_{}_threads_2_precision_{}_batchsize_8.log"
    assert logs == {
        "python_infer_gpu_usetrt_null_precision_fp32_batchsize_8.log",
        "python_infer_gpu_usetrt_null_precision_fp16_batchsize_8.log",
        cpu.format("True", "fp32"),
        cpu.format("null", "bf16"),
        cpu.format("False", "fp32"),
    }


@pytest.mark.parametrize(
    ("gpus", "words", "count"),
    [
        ("-1", {"py"}, 1),
        ("0", {"env", "CUDA_VISIBLE_DEVICES=0"}, 1),
        ("0,1", {"paddle.distributed.launch", "--gpus", "0,1"}, 2),
        ("-1,-1", {"PADDLE_DISTRI_BACKEND=gloo", "--nproc_per_node", "2"}, 2),
        ("10.0.0.1,10.0.0.2;0,1", {"--ips", "10.0.0.1,10.0.0.2", "--gpus", "0,1"}, 4),
    ],
)
def test_how_a_training_is_started(gpus, words, count):
    assert processes(gpus) == count
    assert words <= set(launcher("py", gpus, Path("d")))


def test_a_device_that_contradicts_the_cards(plan):
    with raises_code("tipc-config", "line 5 "):
        plan("train_infer", LITE, {5: "--device:gpu"})


@pytest.mark.parametrize(
    ("kind", "mode", "number", "line", "code"),
    [
        ("train_infer", "whole_infer", 37, "infer_model:no/such/dir", "file-missing"),
        ("train_infer", "whole_infer", 37, "infer_model:null", "tipc-config"),
        ("train_infer", "klquant_whole_infer", 34, "kl_quant:null", "tipc-config"),
        ("serving", "serving_infer", 5, "--dirname:no/such/dir", "file-missing"),
        ("serving", "serving_infer", 10, "serving_dir:deploy/none", "file-missing"),
        ("serving", "serving_infer", 17, "pipline:none.py", "file-missing"),
        ("paddle2onnx", "paddle2onnx_infer", 4, "2onnx:no_such_program", "environment"),
        ("paddle2onnx", "paddle2onnx_infer", 16, "--input_file:none.txt", "file-missing"),
    ],
)
def test_what_does_not_exist_is_refused_with_its_line(plan, kind, mode, number, line, code):
    with raises_code(code, f"line {number} "):
        plan(kind, mode, {number: line})


def test_recorded_answers_are_compared_with(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "RESULTS", tmp_path)
    texts, record = tmp_path / "dev.tsv", tmp_path / "ConvBERT-tiny_mine.json"
    content = {"input_sha256": sha256(texts), "accuracy": 0.5, "accuracy_atol": 0.0}
    record.write_text(json.dumps(content))
    made = plan("train_infer", "whole_infer")
    assert {judged(step)["gt_file"] for step in named(made, "infer")} == {record}
    texts.write_text("sentence\tlabel\nanother\t1\n")
    made = plan("train_infer", "whole_infer")
    assert {judged(step)["gt_file"] for step in named(made, "infer")} == {None}
    assert any(record.name in note for note in made.notes)


def test_serving(plan):
    made = plan("serving", "serving_infer")
    names = ["infer", "convert", *("serve", "client", "stop") * 2]
    assert [step.name for step in made.steps] == names
    infer, convert, serve, client, stop = (named(made, name)[0] for name in names[:5])
    assert written(convert) == {"serving_server_conf.prototxt", "serving_client_conf.prototxt"}
    assert needed(made, serve) == {"convert"}
    assert needed(made, client) == {"serve", "infer"}
    assert needed(made, stop) == {"serve"}
    flags = dict(word.split("=", 1) for word in serve.command if "=" in word)
    port, rpc_port = int(flags["--port"]), int(flags["--rpc_port"])
    assert port != rpc_port
    assert set(stop.frees) == {port, rpc_port}
    assert serve.url == f"http://127.0.0.1:{port}/health"
    assert f"--url=http://127.0.0.1:{port}/convbert/prediction" in client.command
    settings = {name.rpartition(".")[2]: value for name, value in flags.items() if "." in name}
    wanted = {"engine": "paddle", "device_type": "0", "use_mkldnn": "True", "thread_num": "2"}
    assert settings == {**wanted, "precision": "fp32"}
    assert [judged(client)["results"]] == client.makes
    assert judged(client)["reference"] == infer.makes[0]
    assert judged(client)["precision"] == "fp32"


def test_paddle2onnx(plan):
    made = plan("paddle2onnx", "paddle2onnx_infer")
    infer, convert, onnx = made.steps
    assert written(convert) == {"model.onnx"}
    assert "--opset_version=13" in convert.command
    assert needed(made, onnx) == {"infer", "convert"}
    assert judged(onnx)["expect"] == {"device": "cpu"}
    assert judged(onnx)["reference"] == infer.makes[0]
    assert [judged(onnx)["results"]] == onnx.makes


def test_benchmark(plan):
    made = plan("benchmark", "benchmark_train", {57: "flags:FLAGS_a=1;FLAGS_b=2"})
    train = made.steps[0]
    assert {step.name for step in made.steps} == {"train"}
    assert len(made.steps) == 2
    assert {"env", "FLAGS_a=1", "FLAGS_b=2", "python3"} < set(train.command)
    assert {"--batch_size=8", "--max_steps=60", "--device=cpu"} < set(train.command)
    assert written(train) == {"metrics.json"}
    assert judged(train)["speed"].name == "ConvBERT-tiny_bs8_fp32_SingleP_DP_N1C1_speed"
    (two,) = plan("benchmark", "benchmark_train", {}, "dynamic_bs4_fp32_DP_N1C2").steps
    assert processes(judged(two)["gpus"]) == 2
    assert "--batch_size=4" in two.command


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("bs8", "command-line"),
        ("dynamic_bs8_fp32_DP_N2C1", "command-line"),
        ("dynamic_bsx_fp32_DP_N1C1", "command-line"),
        ("dynamic_bs8_fp16_DP_N1C1", "tipc-config"),  # on a CPU
    ],
)
def test_cases_that_cannot_be_run(plan, case, code):
    with raises_code(code):
        plan("benchmark", "benchmark_train", {}, case)


def test_speed_leaves_out_the_first_line():
    rows = [
        {"seconds": 10.0, "examples_per_second": 1.0},
        {"seconds": 11.0, "examples_per_second": 100.0},
        {"seconds": 14.0, "examples_per_second": 20.0},
    ]
    assert steady_ips(rows) == pytest.approx((100 + 60) / 4)
    with pytest.raises(judge.Wrong):
        steady_ips(rows[:1])
