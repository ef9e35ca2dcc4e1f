"""Conversion for Paddle Serving: equal to the original's, whole or not at all."""

import shutil
from pathlib import Path

import pytest

from convbert.serving.served_model import convert
from paddlenlp.utils.products import MANIFEST_FILE
from tests.helpers.errors import raises_code

CONVERT = "tools/export_serving_model.py"
GOLDEN = Path(__file__).resolve().parents[1] / "fixtures" / "serving"
CONFIGS = ("serving_{}_conf.prototxt", "serving_{}_conf.stream.prototxt")


def is_protobuf(export: Path) -> bool:
    return (export / "inference.pdmodel").is_file()


def test_the_command_writes_what_the_original_writes(call_script, tiny_export, tmp_path):
    if not is_protobuf(tiny_export):
        pytest.skip("the original reads no program of Paddle 3")
    flags = ["--model_filename", "inference.pdmodel", "--params_filename", "inference.pdiparams"]
    targets = ["--serving_server", "convbert_server", "--serving_client", "convbert_client"]
    done = call_script(CONVERT, "--dirname", tiny_export, *flags, *targets)
    assert done.returncode == 0, done.stderr
    server, client = tmp_path / "convbert_server", tmp_path / "convbert_client"
    for pattern in CONFIGS:
        golden = (GOLDEN / pattern.format("server")).read_bytes()
        assert (server / pattern.format("server")).read_bytes() == golden
        assert (client / pattern.format("client")).read_bytes() == golden
    copied = {"inference.pdmodel", "inference.pdiparams", "vocab.txt", "tokenizer_config.json"}
    copied.add("model_config.json")
    for name in copied:
        assert (server / name).read_bytes() == (tiny_export / name).read_bytes()
    added = {p.format("server") for p in CONFIGS} | {MANIFEST_FILE}
    assert {path.name for path in server.iterdir()} == copied | added
    added = {p.format("client") for p in CONFIGS} | {MANIFEST_FILE}
    assert {path.name for path in client.iterdir()} == added


def test_a_second_conversion_replaces_the_first(tiny_export, tmp_path):
    server, client = tmp_path / "server", tmp_path / "client"
    convert(str(tiny_export), str(server), str(client))
    convert(str(tiny_export), str(server), str(client))
    assert (client / "serving_client_conf.prototxt").is_file()
    (server / "notes").write_text("mine")
    with raises_code("occupied", server, "notes"):
        convert(str(tiny_export), str(server), str(client))
    assert (server / "notes").read_text() == "mine"


def test_a_model_for_openvino_is_converted(tiny_export, tmp_path, tiny_config):
    (tmp_path / "ir").mkdir()
    for name in ("inference.xml", "inference.bin"):
        (tmp_path / "ir" / name).write_text(name)
    for name in ("vocab.txt", "tokenizer_config.json", "model_config.json"):
        shutil.copy(str(tiny_export / name), str(tmp_path / "ir"))
    config = convert(str(tmp_path / "ir"), str(tmp_path / "server"), str(tmp_path / "client"))
    assert [v.name for v in config.feed_var] == ["input_ids", "token_type_ids"]
    assert [list(v.shape) for v in config.fetch_var] == [[tiny_config.num_classes]]
    served = {path.name for path in (tmp_path / "server").iterdir()}
    assert {path.name for path in (tmp_path / "ir").iterdir()} < served


def _drop(name):
    return lambda export: (export / name).unlink()


def _damage(export):
    next(export.glob("inference.[pj]*[ln]")).write_bytes(b"no program")


@pytest.mark.parametrize(
    ("break_it", "code", "fact"),
    [
        (_drop("vocab.txt"), "export", "vocab.txt"),
        (_drop("inference.pdiparams"), "export", "inference.pdiparams"),
        (_damage, "engine", "inference."),
        (shutil.rmtree, "file-missing", "export"),
    ],
)
def test_a_broken_export_leaves_nothing_behind(tiny_export, tmp_path, break_it, code, fact):
    export = tmp_path / "export"
    shutil.copytree(str(tiny_export), str(export))
    break_it(export)
    with raises_code(code, fact):
        convert(str(export), str(tmp_path / "server"), str(tmp_path / "client"))
    assert {path.name for path in tmp_path.iterdir()} <= {"export"}
