"""config.yml: what is accepted, and that a wrong setting names itself."""

from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="serving is not installed: bash shell/serving.sh setup")

from convbert.serving import config
from convbert.serving.config import Address, load_settings
from tests.helpers.errors import raises_code

CONFIG = str(Path(__file__).resolve().parents[2] / "deploy" / "serving_python" / "config.yml")
LOCAL = "op.convbert.local_service_conf"


def test_the_shipped_config_is_valid_and_listens_on_loopback():
    settings = load_settings(CONFIG)
    assert (settings.http, settings.rpc) == (("127.0.0.1", 18080), ("127.0.0.1", 9993))
    assert settings.model_dir == str(Path(CONFIG).parent / "convbert_server")
    assert not settings.engine_options().use_gpu
    assert settings["max_in_flight"] <= settings["worker_num"]


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("worker_number=3", ("worker_number", "'worker_num'")),
        ("op.convbert.concurency=3", ("op.convbert.concurency", "'op.convbert.concurrency'")),
        ("worker_num=0", ("worker_num", "1024")),
        ("worker_num=true", ("worker_num",)),
        ("worker_num=2.0", ("worker_num",)),
        ("dag.retry=2", ("dag.retry",)),
        ("dag.channel_size=0", ("dag.channel_size",)),
        ("build_dag_each_worker=false", ("build_dag_each_worker",)),
        ("dag.tracer={interval_s: 5}", ("dag.tracer",)),
        (f"{LOCAL}.client_type=local_predictor", ("client_type",)),
        ("service.log_files=1", ("service.log_files", "2")),  # it would not be rotated
        ("dag.use_profile=1", ("dag.use_profile",)),
        ("rpc_port=80", ("rpc_port",)),
        ("rpc_port=18080", ("http_port", "rpc_port", "18080")),
        (f"{LOCAL}.device_type=3", ("device_type",)),
        (f"{LOCAL}.engine=onnxruntime", ("engine", "openvino")),
        (f"{LOCAL}.devices=x", ("devices",)),
        (f"{LOCAL}.model_config=5", ("model_config",)),
        ("service.request_timeout_s=soon", ("service.request_timeout_s",)),
        ("service.request_timeout_s=.nan", ("service.request_timeout_s",)),
        ("service=5", ("'service'",)),
        ("service.max_texts.x=1", ("'service.max_texts.x'",)),
        ("a.b=1", ("'a.b'",)),
    ],
)
def test_a_wrong_setting_names_itself(override, facts):
    with raises_code("settings", CONFIG, *facts):
        load_settings(CONFIG, [override])


def test_the_last_part_of_a_key_is_not_enough_but_finds_it():
    with raises_code("settings", f"'{LOCAL}.engine'"):
        load_settings(CONFIG, ["engine=openvino"])


@pytest.mark.parametrize(
    ("overrides", "code", "facts"),
    [
        (["nonsense"], "command-line", ["nonsense"]),
        (["worker_num=["], "command-line", ["worker_num=["]),
        ([f"{LOCAL}.device_type=0", f"{LOCAL}.devices=0"], "settings", []),
        ([f"{LOCAL}.precision=fp16"], "precision", ["fp16"]),
        ([f"{LOCAL}.engine=paddle", f"{LOCAL}.precision=int8"], "precision", ["int8"]),
    ],
)
def test_wrong_overrides(overrides, code, facts):
    with raises_code(code, *facts):
        load_settings(CONFIG, overrides)


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, "file-missing"), (": :", "settings"), ("", "settings"), ("a: 1", "settings")],
)
def test_a_wrong_config_file_names_itself(tmp_path, text, code):
    path = tmp_path / "config.yml"
    if text is not None:
        path.write_text(text)
    with raises_code(code, path):
        load_settings(str(path))


@pytest.mark.parametrize(
    ("files", "overrides", "engine"),
    [
        (["inference.pdmodel"], [], "openvino"),
        (["inference.pdmodel"], [f"{LOCAL}.precision=int8"], "openvino"),
        (["inference.pdmodel"], [f"{LOCAL}.precision=bf16"], "openvino"),
        (["inference.pdmodel"], [f"{LOCAL}.devices=0"], "paddle"),
        (["inference.pdmodel"], [f"{LOCAL}.devices=0", f"{LOCAL}.precision=fp16"], "paddle"),
        (["inference.pdmodel"], [f"{LOCAL}.use_mkldnn=false"], "paddle"),
        (["inference.xml"], [f"{LOCAL}.precision=int8"], "openvino"),
        (["inference.xml"], [f"{LOCAL}.precision=auto"], "openvino"),
        (["inference.json"], [], "paddle"),
    ],
)
def test_auto_chooses_an_engine_that_runs_the_model(
    tmp_path, monkeypatch, files, overrides, engine
):
    monkeypatch.setattr(config, "installed", lambda name: name == "openvino")
    for name in (*files, "model_config.json"):
        (tmp_path / name).write_text("")
    opts = [f"{LOCAL}.engine=auto", *overrides]
    assert load_settings(CONFIG, opts, str(tmp_path)).engine_options().engine == engine
    monkeypatch.setattr(config, "installed", lambda name: False)
    # Only OpenVINO runs int8 and bf16: opening the model says which package is missing.
    only = "inference.xml" in files or any(name in str(overrides) for name in ("int8", "bf16"))
    expected = "openvino" if only else "paddle"
    assert load_settings(CONFIG, opts, str(tmp_path)).engine_options().engine == expected


def test_auto_takes_paddle_for_a_model_of_another_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "installed", lambda name: name == "openvino")
    (tmp_path / "inference.pdmodel").write_text("")
    opts = [f"{LOCAL}.engine=auto"]
    assert load_settings(CONFIG, opts, str(tmp_path)).engine_options().engine == "paddle"


def test_auto_takes_int8_for_a_quantized_model(tmp_path):
    assert load_settings(CONFIG, [], str(tmp_path)).engine_options().precision == "fp32"
    (tmp_path / "inference.xml").write_text("")
    options = load_settings(CONFIG, [], str(tmp_path)).engine_options()
    assert (options.engine, options.precision) == ("openvino", "int8")


def test_a_configuration_without_an_engine_runs_paddle(tmp_path):
    lines = Path(CONFIG).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith("engine:")]
    assert len(kept) == len(lines) - 1
    (tmp_path / "config.yml").write_text("".join(kept))
    assert load_settings(str(tmp_path / "config.yml")).engine_options().engine == "paddle"


@pytest.mark.parametrize(
    ("setting", "gpus"), [("devices=1,3", [1, 3, 1]), ("device_type=1", [0, 0, 0])]
)
def test_gpus_are_assigned_to_workers_in_turn(setting, gpus):
    settings = load_settings(CONFIG, [f"{LOCAL}.{setting}"])
    options = [settings.engine_options(worker) for worker in range(3)]
    assert [(o.use_gpu, o.gpu_id) for o in options] == [(True, gpu) for gpu in gpus]


@pytest.mark.parametrize(
    ("host", "reached", "own"),
    [
        ("127.0.0.1", "127.0.0.1:5", True),
        ("localhost", "localhost:5", True),
        ("::1", "[::1]:5", True),
        ("0.0.0.0", "127.0.0.1:5", False),
        ("::", "127.0.0.1:5", False),
        ("192.0.2.1", "192.0.2.1:5", False),
    ],
)
def test_addresses(host, reached, own):
    assert str(Address(host, 5).local) == reached
    assert Address(host, 5).is_loopback is own
