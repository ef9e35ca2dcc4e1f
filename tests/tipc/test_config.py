"""TIPC configurations: every line is checked against its slot, and errors name the line."""

from __future__ import annotations

import json
import re
import sys

import pytest

from paddlenlp.utils.errors import UserError
from tests.helpers.tipc import CONFIGS, CPU_CONFIG, SERVING_CONFIG, changed
from tipc import needs, records
from tipc.config import read_config
from tipc.plan import TrainInferPlan, launcher, processes
from tipc.slots import FORMATS, MODES

LITE = "lite_train_lite_infer"
KIND_OF_FILE = {"serving": "serving", "paddle2onnx": "paddle2onnx"}


def kind_of(path):
    return next((kind for part, kind in KIND_OF_FILE.items() if part in path.name), "train_infer")


@pytest.fixture
def broken(tmp_path):
    """Return ``broken(lines)``: the message that the CPU configuration with these lines gets."""

    def read(lines, mode=LITE, kind="train_infer", source=CPU_CONFIG):
        path = tmp_path / "config.txt"
        path.write_text(changed(source, lines))
        with pytest.raises(UserError) as error:
            read_config(str(path), kind, mode)
        assert "\n" not in str(error.value)
        return str(error.value).replace(f"{path}, ", "")

    return read


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.txt")), ids=lambda path: path.name)
def test_the_configurations_are_good_in_every_mode(path):
    kind = kind_of(path)
    for mode in MODES[kind]:
        read_config(str(path), kind, mode)


def test_the_slots_are_where_tipc_has_them():
    names = [slot.name for slot in FORMATS["train_infer"]]
    places = {7: "train_length", 16: "norm_train", 30: "norm_export", 34: "kl_quant"}
    places.update({37: "infer_model", 40: "inference", 41: "use_gpu", 50: "benchmark"})
    assert {line: names[line - 1] for line in places} == places
    assert len(names) == 51
    assert len(FORMATS["serving"]) == 18


@pytest.mark.parametrize("number", range(1, 58))
def test_a_missing_line_is_an_error_at_or_after_it(tmp_path, number):
    lines = CPU_CONFIG.read_text().splitlines()
    del lines[number - 1]
    path = tmp_path / "config.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"line \d+") as error:
        read_config(str(path), "train_infer", LITE)
    reported = int(re.search(r"line (\d+)", str(error.value)).group(1))
    # Flags are told apart by their line alone, so the loss shows at the next fixed word.
    assert number <= reported <= number + 11


def test_one_line_too_many(tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(CPU_CONFIG.read_text() + "null:null\n")
    with pytest.raises(UserError, match="line 58: one line too many"):
        read_config(str(path), "train_infer", LITE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({1: "===train===="}, "line 1 (train_params): expected the separator ===train_params==="),
        (
            {3: "python:no_such_python"},
            "line 3 (python): 'no_such_python' cannot be used",
        ),
        ({4: "gpu_list:0,-1"}, "line 4 (gpu_list): '0,-1' cannot be used"),
        ({4: "gpu_list:null"}, "line 4 (gpu_list): a value is needed"),
        ({7: "--max_steps:lite_train=4"}, "line 7 (train_length): 'lite_train' is no mode"),
        ({7: "--max_steps:whole_infer=4"}, "line 7 (train_length): no value for mode lite_train_l"),
        ({7: "--max_steps:ten"}, "line 7 (train_length): 'ten' cannot be used: give an integer"),
        (
            {8: "--output_dir:./outputs"},
            "line 8 (save_model): './outputs' cannot be used: leave",
        ),
        ({16: "norm_train:missing.py"}, "line 16 (norm_train): 'missing.py' cannot be used"),
        ({17: "pact_train:a.py"}, "line 17 (pact_train): 'a.py' cannot be used: this project has"),
        ({41: "--use_gpu:true"}, "line 41 (use_gpu): 'true' cannot be used: give True or False"),
        ({44: "batch 8"}, "line 44 (infer_batch): expected key:value, found 'batch 8'"),
        ({44: "batch_size:8"}, "line 44 (infer_batch): expected --flag:value or null:null"),
        ({44: "null:8"}, "line 44 (infer_batch): the value '8' has no key"),
        ({46: "--precision:fp64"}, "line 46 (precision): 'fp64' cannot be used"),
    ],
)
def test_a_wrong_line_is_named(broken, line, said):
    assert broken(line).startswith(said)


def test_the_seeds_fixed_checkpoint_path_is_refused(broken):
    line = "norm_export:tools/export_model.py --model_path=./convbert_base_outputs/best.pdparams"
    assert "line 30 (norm_export)" in broken({30: line})
    assert "take --model_path out" in broken({30: line})


def test_values_may_hold_colons(tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(changed(CPU_CONFIG, {13: "--data_dir:http://127.0.0.1:80/x"}))
    config = read_config(str(path), "train_infer", LITE)
    assert config.flag("train_extra") == ["--data_dir=http://127.0.0.1:80/x"]


def test_a_file_of_a_windows_editor(tmp_path):
    path = tmp_path / "config.txt"
    path.write_bytes(b"\xef\xbb\xbf" + CPU_CONFIG.read_bytes().replace(b"\n", b"\r\n"))
    assert read_config(str(path), "train_infer", LITE).values("gpu_list") == ["-1", "-1,-1"]


def test_serving_lines_are_checked(broken):
    message = broken({12: "device_type:0"}, "serving_infer", "serving", SERVING_CONFIG)
    assert message.startswith("line 12 (device_type): expected op.convbert.local_service_conf")


@pytest.mark.parametrize(
    ("gpus", "words", "count"),
    [
        ("-1", ["py"], 1),
        ("0", ["env", "CUDA_VISIBLE_DEVICES=0", "py"], 1),
        ("0,1", ["py", "-m", "paddle.distributed.launch", "--log_dir", "d", "--gpus", "0,1"], 2),
        ("-1,-1", None, 2),
        ("10.0.0.1,10.0.0.2;0,1", None, 4),
    ],
)
def test_how_a_training_is_started(gpus, words, count):
    command = launcher("py", gpus, "d")
    assert processes(gpus) == count
    if words:
        assert command == words
    elif ";" in gpus:
        assert command[-4:] == ["--ips", "10.0.0.1,10.0.0.2", "--gpus", "0,1"]
    else:
        assert command[:2] == ["env", "PADDLE_DISTRI_BACKEND=gloo"]
        assert command[-2:] == ["--nproc_per_node", "2"]


def test_a_device_that_contradicts_the_cards(tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(changed(CPU_CONFIG, {5: "--device:gpu"}))
    config = read_config(str(path), "train_infer", LITE)
    with pytest.raises(UserError, match=r"line 5 \(train_device\): gpu contradicts gpu_list -1"):
        TrainInferPlan(config, "run").build()


@pytest.mark.parametrize(
    ("kind", "mode", "lines", "said"),
    [
        ("train_infer", LITE, {4: "gpu_list:-1|0,1"}, r"line 4 \(gpu_list\): '0,1' needs 2 GPU"),
        (
            "train_infer",
            LITE,
            {4: "gpu_list:1.1.1.1,1.1.1.2;0"},
            r"'1.1.1.1,1.1.1.2;0' needs 1 GPU",
        ),
        (
            "train_infer",
            "whole_infer",
            {41: "--use_gpu:True"},
            r"line 41 \(use_gpu\): 'True' needs 1",
        ),
        (
            "benchmark",
            "benchmark_train",
            {4: "gpu_list:3"},
            r"line 4 \(gpu_list\): '3' needs 4 GPU",
        ),
        (
            "serving",
            "serving_infer",
            {12: "op.convbert.local_service_conf.device_type:0|1"},
            r"line 12 \(device_type\): '1' needs 1 GPU",
        ),
    ],
)
def test_gpus_that_are_not_there(tmp_path, monkeypatch, kind, mode, lines, said):
    def answer(python, question, *words):
        return "sees 0" if question == needs.COUNT_GPUS else ""

    monkeypatch.setattr(needs, "_ask", answer)
    path = tmp_path / "config.txt"
    source = SERVING_CONFIG if kind == "serving" else CPU_CONFIG
    path.write_text(changed(source, lines))
    config = read_config(str(path), kind, mode)
    with pytest.raises(UserError, match=said + r".*the Paddle of python3 sees 0: write '.*' for"):
        needs.check_needs(config, kind)
    needs.check_needs(read_config(str(source), kind, mode), kind)


def test_cards_count_only_where_a_mode_trains(tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(changed(CPU_CONFIG, {4: "gpu_list:0"}))
    config = read_config(str(path), "train_infer", "whole_infer")
    assert list(needs.wanted_gpus(config, "train_infer")) == []


def test_a_python_is_asked():
    assert needs.missing_packages(sys.executable, ["json", "no_such_package"]) == "no_such_package"
    with pytest.raises(UserError, match="'false' does not run"):
        needs.missing_packages("false", ["json"])
    pytest.importorskip("paddle")
    assert needs._ask(sys.executable, needs.COUNT_GPUS, "0") in ("", "has no GPU support")
    assert needs._ask(sys.executable, needs.COUNT_GPUS, "1000") in ("sees 0", "has no GPU support")


def test_recorded_answers_are_compared_with(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    path, texts, model = (tmp_path / name for name in ("config.txt", "dev.tsv", "mine"))
    texts.write_text("sentence\tlabel\na\t1\n")
    model.mkdir()
    (model / "weights").write_text("w")
    record = {"input_sha256": records.sha256(texts), "accuracy": 0.5, "accuracy_atol": 0.0}
    (tmp_path / "ConvBERT-tiny_mine.json").write_text(json.dumps(record))
    lines = {37: f"infer_model:{model}", 48: f"--input_file:{texts}"}
    path.write_text(changed(CPU_CONFIG, lines))
    config = read_config(str(path), "train_infer", "whole_infer")
    checks = [step.check for step in TrainInferPlan(config, "RUN").build() if step.name == "infer"]
    assert len(checks) == 8
    assert all(check[-2:] == ["--gt_file", "ConvBERT-tiny_mine.json"] for check in checks)
    texts.write_text("sentence\tlabel\nanother\t1\n")
    plan = TrainInferPlan(config, "RUN")
    assert all("--gt_file" not in step.check for step in plan.build())
    assert any("was recorded on other texts" in note for note in plan.notes)


def test_int8_needs_onednn(tmp_path):
    path, model = tmp_path / "config.txt", tmp_path / "best.pdparams"
    model.mkdir()
    (model / "weights").write_text("w")
    path.write_text(changed(CPU_CONFIG, {37: f"infer_model:{model}", 42: "--use_mkldnn:False"}))
    config = read_config(str(path), "train_infer", "klquant_whole_infer")
    with pytest.raises(
        UserError, match=r"line 42 \(use_mkldnn\): int8 runs on the CPU with oneDNN"
    ):
        TrainInferPlan(config, "RUN").build()


def test_every_product_of_a_plan_lies_in_its_run_folder():
    config = read_config(str(CPU_CONFIG), "train_infer", LITE)
    for step in TrainInferPlan(config, "RUN").build():
        assert step.log.startswith("RUN/")
        assert all(path.startswith("RUN/") for path in step.makes)


def test_a_plan_without_its_model_says_how_to_get_it(tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(changed(CPU_CONFIG, {37: "infer_model:no/such/dir"}))
    config = read_config(str(path), "train_infer", "whole_infer")
    with pytest.raises(UserError, match=r"line 37 .* run bash test_tipc/prepare.sh"):
        TrainInferPlan(config, "RUN").build()


def test_numbers_formats_go_where_they_can_run(tmp_path):
    path = tmp_path / "config.txt"
    lines = {41: "--use_gpu:True|False", 42: "--use_mkldnn:True|False", 43: "--cpu_threads:2"}
    lines.update({44: "--batch_size:8", 46: "--precision:fp32|fp16|bf16"})
    path.write_text(changed(CPU_CONFIG, lines))
    config = read_config(str(path), "train_infer", LITE)
    logs = {step.log.rpartition("/")[2] for step in TrainInferPlan(config, "RUN").build()}
    infer = {log for log in logs if log.startswith("python_infer")}
    cpu = "python_infer_cpu_usemkldnn_{}_threads_2_precision_{}_batchsize_8.log"
    assert infer == {
        "python_infer_gpu_usetrt_null_precision_fp32_batchsize_8.log",
        "python_infer_gpu_usetrt_null_precision_fp16_batchsize_8.log",
        cpu.format("True", "fp32"),
        cpu.format("True", "bf16"),
        cpu.format("False", "fp32"),
    }
