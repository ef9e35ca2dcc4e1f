"""The model that is used when none is given, and float16 checkpoints such as the bundled one."""

import shutil
import subprocess

import numpy as np
import pytest

from convbert.inference.default_model import default_checkpoint, default_export
from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.inference.exported import open_exported
from distill.bundle import main as bundle
from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_weights
from paddlenlp.transformers.convbert.conversion import convert
from paddlenlp.utils import hub
from paddlenlp.utils.products import MANIFEST_FILE, add_to_manifest, verify
from tests.helpers.errors import raises_code

IDS = np.array([[2, 8, 9, 10, 3]])


@pytest.fixture(scope="module")
def bundled(tiny_checkpoint, tmp_path_factory):
    """A root folder with a bundled model in models/, made from `tiny_checkpoint`."""
    root = tmp_path_factory.mktemp("root")
    target = root / "models" / hub.DEFAULT_MODEL
    bundle(["--model_path", str(tiny_checkpoint), "--output_dir", str(target)])
    return root


@pytest.fixture
def root(bundled, monkeypatch, tmp_path):
    """`bundled` in the place of this checkout."""
    monkeypatch.setattr(hub, "ROOT", bundled)
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "home"))
    return bundled


def logits(directory):
    model, _ = load_classifier(str(directory))
    return dygraph_runner(model)(IDS, np.zeros_like(IDS))


def test_a_bundle_is_float16_on_the_disk_and_float32_when_read(bundled, tiny_checkpoint, tmp_path):
    folder = bundled / "models" / hub.DEFAULT_MODEL
    verify(folder)
    full, half = (path / WEIGHTS_FILE for path in (tiny_checkpoint, folder))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    wanted = {name: array.astype("float16") for name, array in read_weights(str(full)).items()}
    model, processor = load_classifier(str(folder))
    for name, parameter in model.named_parameters():
        assert parameter.numpy().dtype == np.float32
        np.testing.assert_array_equal(parameter.numpy(), wanted[name])
    assert processor.label_names == ["negative", "positive"]
    convert(str(folder), str(tmp_path / "hf"), "hf")
    exchanged = read_weights(str(tmp_path / "hf" / "model.safetensors"))
    assert {array.dtype for array in exchanged.values()} == {np.dtype("float32")}
    np.testing.assert_allclose(logits(tmp_path / "hf"), logits(folder), atol=1e-6)


def test_a_weight_beyond_float16_is_refused(tiny_checkpoint, tmp_path):
    import paddle

    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    weights = read_weights(str(copy / WEIGHTS_FILE))
    name = next(iter(weights))
    weights[name] = weights[name] + np.float32(1e5)
    paddle.save(weights, str(copy / WEIGHTS_FILE))
    with raises_code("weights", name):
        bundle(["--model_path", str(copy), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_names_of_bundled_models(root, monkeypatch):
    folder = root / "models" / hub.DEFAULT_MODEL
    assert default_checkpoint() == str(folder)
    np.testing.assert_array_equal(logits(hub.DEFAULT_MODEL), logits(folder))
    with raises_code("model-name", hub.DEFAULT_MODEL):  # listed, because it is there
        load_classifier("convbert-mini")
    monkeypatch.setattr(hub, "ROOT", root / "elsewhere")
    with raises_code("file-missing"):
        default_checkpoint()


def test_the_export_is_made_once(root, monkeypatch):
    exported = default_export()
    engine, processor = open_exported(exported)
    expected = logits(root / "models" / hub.DEFAULT_MODEL)
    np.testing.assert_allclose(engine.run(IDS, np.zeros_like(IDS)), expected, atol=1e-5)
    assert processor.label_names == ["negative", "positive"]

    def fail(*args, **options):
        return subprocess.CompletedProcess(args, 1)

    monkeypatch.setattr(subprocess, "run", fail)
    assert default_export() == exported
    with monkeypatch.context() as changed:  # another code
        changed.setattr("convbert.inference.default_model._PRODUCT_CODE", ("train.py",))
        with raises_code("step-failed"):
            default_export()
    folder = root / "models" / hub.DEFAULT_MODEL
    with open(folder / "vocab.txt", "a") as file:
        file.write("oneword\n")
    add_to_manifest(folder, "checkpoint", ["vocab.txt"])  # another model
    with raises_code("step-failed"):
        default_export()
    (folder / MANIFEST_FILE).unlink()
    with raises_code("file-missing", folder):
        default_export()
