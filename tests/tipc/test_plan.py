"""The steps of the TIPC chains: what each must write, what judges it, which flags it gets."""

from __future__ import annotations

import pytest

from paddlenlp.utils.errors import UserError
from tests.helpers.tipc import CONFIGS, CPU_CONFIG, SERVING_CONFIG, changed
from tipc import summary
from tipc.config import read_config
from tipc.plan import TrainInferPlan
from tipc.plan_files import write_plan
from tipc.plan_more import BenchmarkPlan, OnnxPlan, ServingPlan

ONNX_CONFIG = CONFIGS / "model_linux_cpu_normal_normal_paddle2onnx_python_linux_cpu.txt"
LITE = "lite_train_lite_infer"


@pytest.fixture
def plan(tmp_path):
    """Return ``make(kind, mode, lines)``: the steps of a configuration with these lines."""
    model = tmp_path / "mine"
    model.mkdir()
    (model / "weights").write_text("w")
    kinds = {
        "train_infer": (TrainInferPlan, CPU_CONFIG, {37: f"infer_model:{model}"}),
        "benchmark": (BenchmarkPlan, CPU_CONFIG, {}),
        "serving": (ServingPlan, SERVING_CONFIG, {5: f"--dirname:{model}"}),
        "paddle2onnx": (OnnxPlan, ONNX_CONFIG, {5: f"--model_dir:{model}"}),
    }

    def make(kind, mode, lines=None, *option):
        build, source, fixed = kinds[kind]
        path = tmp_path / "config.txt"
        path.write_text(changed(source, {**fixed, **(lines or {})}))
        return build(read_config(str(path), kind, mode), "RUN", *option).build()

    return make


def named(steps, name):
    return [step for step in steps if step.name == name]


def written(step):
    return [path.rpartition("/")[2] for path in step.makes]


def test_training(plan):
    lines = {6: "--use_amp:False", 20: "--logging_steps:5", 21: "--seed:7"}
    first, second = named(plan("train_infer", LITE, lines), "train")
    assert written(first) == ["model_state.pdparams", "metrics.json"]
    assert first.check[-6:] == ["--device", "cpu", "--processes", "1", "--steps", "4"]
    assert second.check[-6:] == ["--device", "cpu", "--processes", "2", "--steps", "4"]
    for flag in ("--device=cpu", "--max_steps=4", "--batch_size=8", "--use_amp=False"):
        assert flag in first.command
    assert {"--logging_steps=5", "--seed=7"} < set(first.command)
    (gpu,) = named(plan("train_infer", LITE, {4: "gpu_list:0"}), "train")
    assert "--device=gpu" in gpu.command
    assert gpu.check[-6:-2] == ["--device", "gpu", "--processes", "1"]


def test_after_training(plan):
    steps = plan("train_infer", LITE)
    assert {tuple(written(step)) for step in named(steps, "eval")} == {("dygraph.jsonl",)}
    exported = ("inference.pdiparams", "vocab.txt")
    assert {tuple(written(step)) for step in named(steps, "export")} == {exported}
    folder = "RUN/norm_train_gpus_-1_autocast_null"
    name = "python_infer_cpu_usemkldnn_False_threads_1_precision_fp32_batchsize_8"
    (infer,) = [step for step in steps if step.log == f"{folder}/{name}.log"]
    assert infer.makes == (f"{folder}/{name}.json",)
    assert infer.needs == (2, 3)  # eval and export of the same training
    expected = ["device=cpu", "use_mkldnn=False", "cpu_threads=1", "precision=fp32", "batch_size=8"]
    assert [word[9:] for word in infer.check if word.startswith("--expect=")] == expected
    assert infer.check[infer.check.index("--reference") + 1] == f"{folder}/dygraph.jsonl"
    for flag in ("--use_mkldnn=False", "--cpu_threads=1", "--benchmark=True", "--warmup=2"):
        assert flag in infer.command


def test_quantization(plan):
    steps = plan("train_infer", "klquant_whole_infer")
    names = ["eval", "export", *["infer"] * 4, "quantize", *["infer"] * 5]
    assert [step.name for step in steps] == names
    (quantize,) = named(steps, "quantize")
    assert written(quantize) == ["inference.pdiparams", "vocab.txt", "quantization.json"]
    floats, rounded, int8 = steps[2:6], steps[7], steps[8:]
    assert "--expect=use_mkldnn=False" in rounded.check
    assert "--expect=precision=fp32" in rounded.check
    for twin, step in zip(floats, int8):
        assert "--expect=precision=int8" in step.check
        assert step.check[step.check.index("--baseline") + 1] == twin.makes[0]
        assert step.check[step.check.index("--rounded") + 1] == rounded.makes[0]
        assert step.needs == (steps.index(twin) + 1, 7, 8)
    assert "--rounded" not in rounded.check
    assert rounded.check[rounded.check.index("--baseline") + 1] == floats[-1].makes[0]


def test_a_model_that_is_int8_already(plan):
    lines = {38: "infer_export:null", 39: "infer_quant:True"}
    steps = plan("train_infer", "whole_infer", lines)
    assert [step.name for step in steps] == ["infer"] * 4
    assert all("--expect=precision=int8" in step.check for step in steps)


def test_serving(plan):
    steps = plan("serving", "serving_infer")
    assert [step.name for step in steps] == ["infer", "convert", *["serve", "client", "stop"] * 2]
    infer, convert, serve, client, stop = steps[:5]
    assert [step.kind for step in steps[2:5]] == ["serve", "run", "stop"]
    assert written(infer) == ["paddle.json"]
    assert written(convert) == ["serving_server_conf.prototxt", "serving_client_conf.prototxt"]
    ports = [w.partition("=")[2] for w in serve.command if w.startswith(("--port=", "--rpc_port="))]
    assert len(set(ports)) == 2
    assert serve.check == [f"--url=http://127.0.0.1:{ports[0]}/health", "--expect=device=cpu"]
    assert serve.needs == (1, 2)
    options = serve.command[serve.command.index("--opt") + 1 :]
    assert [option.rpartition(".")[2] for option in options] == [
        "device_type=0",
        "use_mkldnn=True",
        "thread_num=2",
        "precision=fp32",
    ]
    assert client.check[-4:] == ["--reference", "RUN/paddle.json", "--precision", "fp32"]
    assert client.check[client.check.index("--answers") + 1] == client.makes[0]
    assert f"--url=http://127.0.0.1:{ports[0]}/convbert/prediction" in client.command
    assert stop.command[-3:] == ["ports-free", *ports]


def test_paddle2onnx(plan):
    infer, convert, onnx = plan("paddle2onnx", "paddle2onnx_infer")
    assert written(convert) == ["model.onnx"]
    assert "--opset_version=13" in convert.command
    assert onnx.needs == (1, 2)
    assert onnx.check[-3:] == ["--expect=device=cpu", "--reference", infer.makes[0]]
    assert onnx.check[onnx.check.index("--results") + 1] == onnx.makes[0]


def test_benchmark(plan):
    steps = plan("benchmark", "benchmark_train", {57: "flags:FLAGS_a=1;FLAGS_b=2"})
    assert [step.name for step in steps] == ["train", "speed"] * 2
    train, speed = steps[:2]
    assert train.command[:4] == ["env", "FLAGS_a=1", "FLAGS_b=2", "python3"]
    assert {"--batch_size=8", "--max_steps=60", "--device=cpu"} < set(train.command)
    assert train.check[-4:] == ["--device", "cpu", "--processes", "1"]
    assert written(train) == ["metrics.json"]
    assert written(speed) == ["ConvBERT-tiny_bs8_fp32_SingleP_DP_N1C1_speed"]
    assert speed.needs == (1,)
    two, _ = plan("benchmark", "benchmark_train", {}, "dynamic_bs4_fp32_DP_N1C2")
    assert two.check[-2:] == ["--processes", "2"]
    assert "--batch_size=4" in two.command


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("bs8", "give a case such as dynamic_bs8_fp32_DP_N1C1"),
        ("dynamic_bs8_fp32_DP_N2C1", "devices are one of N1C1, N1C2"),
        ("dynamic_bs8_fp16_DP_N1C1", r"line 54 \(fp_items\): fp16 needs a GPU"),
    ],
)
def test_cases_that_cannot_be_run(plan, case, said):
    with pytest.raises(UserError, match=said):
        plan("benchmark", "benchmark_train", {}, case)


@pytest.mark.parametrize(
    ("kind", "mode"), [("serving", "serving_infer"), ("train_infer", "whole_infer")]
)
def test_a_changed_model_is_refused(plan, tmp_path, kind, mode):
    (tmp_path / "manifest.json").write_text(
        '{"sources": {}, "files": {"mine/weights": "another hash"}}'
    )
    with pytest.raises(UserError, match=r"mine/weights is not what prepare.sh wrote"):
        plan(kind, mode)
    (tmp_path / "mine" / "weights").unlink()
    with pytest.raises(UserError, match="is empty: run prepare.sh again"):
        plan(kind, mode)


def test_a_plan_without_steps_is_no_success(tmp_path, capsys):
    write_plan(str(tmp_path / "run"), [], [])
    (tmp_path / "run" / "plan" / "done.tsv").write_text("")
    assert summary.main([str(tmp_path / "run")]) == 1


def test_a_run_folder_is_never_used_twice(tmp_path):
    write_plan(str(tmp_path / "run"), [], ["a note"])
    assert (tmp_path / "run" / "plan" / "notes.txt").read_text() == "note: a note\n"
    with pytest.raises(UserError, match="cannot make the run folder"):
        write_plan(str(tmp_path / "run"), [], [])
