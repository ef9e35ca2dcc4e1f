"""TIPC configurations: lines, interpreter, packages and GPUs are checked; errors name the line."""

import re
import sys

import pytest

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory
from tests.helpers.errors import raises_code
from tests.helpers.tipc import CONFIGS, CPU_CONFIG, SERVING_CONFIG, changed
from tipc import config
from tipc.config import read_config
from tipc.formats import FORMATS, MODES

LITE = "lite_train_lite_infer"


def kind_of(path):
    return next((kind for kind in ("serving", "paddle2onnx") if kind in path.name), "train_infer")


@pytest.fixture
def read_text(tmp_path):
    """Return ``read(content)``: a configuration with this content."""

    def read(content, mode=LITE, kind="train_infer"):
        path = tmp_path / "config.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_config(str(path), kind, mode)

    return read


@pytest.fixture
def read(read_text):
    """Return ``read(lines)``: the CPU configuration with these lines."""
    return lambda lines, mode=LITE, kind="train_infer", source=CPU_CONFIG: read_text(
        changed(source, lines), mode, kind
    )


def line_of(error) -> int:
    """The line that an error names."""
    assert error.value.code == "tipc-config"
    return int(re.search(r", line (\d+)\b", str(error.value))[1])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.txt")), ids=lambda path: path.name)
def test_the_configurations_are_good_in_every_mode(path):
    kind = kind_of(path)
    for mode in MODES[kind]:
        read_config(str(path), kind, mode)


def test_the_slots_are_where_tipc_has_them():
    names = [getattr(slot, "name", slot) for slot in FORMATS["train_infer"]]
    places = {7: "train_length", 16: "norm_train", 30: "norm_export", 34: "kl_quant"}
    places.update({37: "infer_model", 40: "inference", 41: "use_gpu", 50: "benchmark"})
    assert {line: names[line - 1] for line in places} == places
    assert len(names) == 51
    assert len(FORMATS["serving"]) == 18


@pytest.mark.parametrize("number", range(1, 58))
def test_a_missing_line_is_an_error_at_or_after_it(read_text, number):
    lines = CPU_CONFIG.read_text().splitlines()
    del lines[number - 1]
    with pytest.raises(UserError) as error:
        read_text("\n".join(lines))
    # Only the position distinguishes flags, so the error may show at the next fixed word.
    assert number <= line_of(error) <= number + 11


def test_one_line_too_many(read_text):
    with raises_code("tipc-config", "line 58 ("):
        read_text(CPU_CONFIG.read_text() + "null:null\n")


def test_a_configuration_that_does_not_exist(tmp_path):
    with raises_code("file-unreadable"):
        read_config(str(tmp_path / "none.txt"), "train_infer", LITE)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "===train===="),
        (3, "# a comment"),
        (3, "python:null"),
        (4, "gpu_list:0,-1"),
        (4, "gpu_list:0:"),
        (4, "gpu_list:null"),
        (7, "--max_steps:lite_train=4"),
        (7, "--max_steps:ten"),
        (7, "--max_steps:0"),
        (8, "--output_dir:./outputs"),
        (8, "justaword"),
        (16, "norm_train:missing.py"),
        (16, "norm_train:train.py --data_dir 'my data"),
        (17, "pact_train:a.py"),
        (30, "norm_export:tools/export_model.py --model_path=./outputs/best.pdparams"),
        (41, "--use_gpu:true"),
        (44, "batch 8"),
        (44, "batch_size:8"),
        (44, "null:8"),
        (46, "--precision:fp64"),
    ],
)
def test_a_wrong_line_is_named(read, number, line):
    with raises_code("tipc-config", f"line {number} ("):
        read({number: line})


def test_serving_lines_are_checked(read):
    with raises_code("tipc-config", "line 12 ("):
        read({12: "device_type:0"}, "serving_infer", "serving", SERVING_CONFIG)


def test_a_value_for_each_mode(read):
    found = read({7: f"--max_steps:{LITE}=4|lite_train_whole_infer=5"})
    assert found.value("train_length") == "4"
    found = read({7: "--max_steps:whole_train_whole_infer=4"})
    with raises_code("tipc-config", "line 7 ("):
        found.value("train_length")


def test_values_may_hold_colons(read):
    found = read({21: "--note:http://127.0.0.1:80/x"})
    assert found.flag("trainer_extra2") == ["--note=http://127.0.0.1:80/x"]


def test_a_file_of_a_windows_editor(read_text):
    found = read_text(b"\xef\xbb\xbf" + CPU_CONFIG.read_bytes().replace(b"\n", b"\r\n"))
    assert found.values("gpu_list") == ["-1", "-1,-1"]


@pytest.mark.parametrize(
    ("number", "line", "use"),
    [
        (10, "--model_name_or_path:{}", lambda read: read.flag("pretrained")),
        (12, "train_infer_file:{}", lambda read: read.input("train_infer_file")),
        (13, "--data_dir:{}", lambda read: read.flag("train_extra")),
        (16, "norm_train:train.py --data_dir {}", lambda read: read.script("norm_train")),
        (16, "norm_train:train.py --data_dir={}", lambda read: read.script("norm_train")),
    ],
)
def test_files_and_folders_must_exist(read, tmp_path, number, line, use):
    found = read({number: line.format(tmp_path)})
    assert str(tmp_path) in "".join(use(found))
    for missing in ("nowhere", tmp_path / "none", "test_tipc/data/none/lite"):
        found = read({number: line.format(missing)})
        advice = ["prepare.sh"] if "test_tipc" in str(missing) else []
        with raises_code("file-missing", f"line {number} ", *advice):
            use(found)


def test_a_folder_with_a_space(read, tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    assert read({13: f"--data_dir:{folder}"}).flag("train_extra") == [f"--data_dir={folder}"]
    words = read({16: f"norm_train:train.py --data_dir '{folder}'"}).script("norm_train")
    assert words == ["train.py", "--data_dir", str(folder)]


def test_a_published_model_needs_no_folder(read):
    found = read({10: "--model_name_or_path:convbert-base"})
    assert found.flag("pretrained") == ["--model_name_or_path=convbert-base"]


def test_prepared_files_must_not_have_changed(read, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PREPARED", tmp_path)
    lite = tmp_path / "tiny" / "lite"
    with product_directory(lite, "TIPC input") as work:
        (work / "dev.tsv").write_text("one")
    lines = {12: f"train_infer_file:{lite}/dev.tsv", 13: f"--data_dir:{lite}"}
    assert read(lines).flag("train_extra") == [f"--data_dir={lite}"]
    assert read(lines).input("train_infer_file") == f"{lite}/dev.tsv"
    (lite / "dev.tsv").write_text("two")
    with raises_code("file-damaged", "line 13 ", "dev.tsv"):
        read(lines).flag("train_extra")
    with raises_code("file-damaged", "line 12 ", "dev.tsv"):
        read(lines).input("train_infer_file")


def test_a_model_with_a_manifest_must_not_have_changed(read, tmp_path):
    model = tmp_path / "best.pdparams"
    with product_directory(model, "checkpoint") as work:
        (work / "model_state.pdparams").write_text("one")
    lines = {37: f"infer_model:{model}"}
    assert read(lines, "whole_infer").input("infer_model") == str(model)
    (model / "model_state.pdparams").write_text("two")
    with raises_code("file-damaged", "line 37 ", "model_state.pdparams"):
        read(lines, "whole_infer").input("infer_model")


@pytest.mark.parametrize(
    ("kind", "mode", "number", "line", "count"),
    [
        ("train_infer", LITE, 4, "gpu_list:-1|0,1", 2),
        ("train_infer", LITE, 4, "gpu_list:1.1.1.1,1.1.1.2;0", 1),
        ("train_infer", "whole_infer", 41, "--use_gpu:True", 1),
        ("benchmark", "benchmark_train", 4, "gpu_list:3", 4),
        ("serving", "serving_infer", 12, "op.convbert.local_service_conf.device_type:0|1", 1),
    ],
)
def test_gpus_that_do_not_exist(read, monkeypatch, kind, mode, number, line, count):
    source = SERVING_CONFIG if kind == "serving" else CPU_CONFIG
    monkeypatch.setattr(config, "ask", lambda config, packages, count_gpus: ("", 0))
    with raises_code("device", f"line {number} ", f"{count} GPU"):
        config.check_environment(read({number: line}, mode, kind, source), kind)
    config.check_environment(read({}, mode, kind, source), kind)


def test_int8_needs_openvino(read, monkeypatch):
    def ask(config, packages, count_gpus):
        return "nncf" if "nncf" in packages else "", 0

    monkeypatch.setattr(config, "ask", ask)
    config.check_environment(read({}, "whole_infer"), "train_infer")
    with raises_code("environment", "line 3 ", "nncf"):
        config.check_environment(read({}, "klquant_whole_infer"), "train_infer")


def test_cards_count_only_where_a_mode_trains(read):
    found = read({4: "gpu_list:0"}, "whole_infer")
    assert list(config.wanted_gpus(found, "train_infer")) == []


def test_a_python_is_asked(read):
    own = read({3: f"python:{sys.executable}"})
    assert config.ask(own, ["json", "no_such"]) == ("no_such", 0)
    pytest.importorskip("paddle")
    missing, gpus = config.ask(own, ["paddle"], count_gpus=True)
    assert missing == ""
    assert gpus < 1000


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (None, None),  # no such file
        ("", 0o755),
        ("exit 1", 0o755),
        ("echo pyenv: command not found >&2; exit 127", 0o755),
        ("", 0o644),
    ],
)
def test_an_interpreter_that_does_not_run(read, tmp_path, text, mode):
    python = tmp_path / "python3.7"
    if text is not None:
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(mode)
    with raises_code("environment", "line 3 ", str(python)):
        config.check_environment(read({3: f"python:{python}"}), "train_infer")
