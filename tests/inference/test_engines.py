"""Every engine answers like the model itself, and says what it cannot do."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.inference.engines import EngineOptions, compiled_cache, onnx_runtime, open_engine
from convbert.inference.exported import open_exported
from tests.conftest import run_python
from tests.helpers.errors import assert_refused, raises_code
from tests.helpers.weights import fill_row

INFER = "deploy/inference_python/infer.py"
PACKAGES = {"paddle": "paddle", "openvino": "openvino", "onnxruntime": "paddle2onnx"}
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="needs requirements-openvino.txt"
)
SHAPES = ((1, 1), (1, 2), (1, 8), (2, 9), (3, 17), (8, 31), (2, 63), (1, 64), (32, 5))


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A cache folder for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "convbert-prod" / "openvino"


@pytest.fixture(scope="module")
def open_as(tmp_path_factory, exported):
    """Return ``open(name)``: the exported program under an engine, with one thread."""

    def open_one(name, onednn=True):
        if find_spec(PACKAGES[name]) is None:
            pytest.skip(f"needs {PACKAGES[name]}")
        options = EngineOptions(engine=name, cpu_threads=1, use_mkldnn=onednn)
        if name == "onnxruntime":
            file = str(tmp_path_factory.mktemp("onnx") / "model.onnx")
            onnx_runtime.convert(str(exported), file)
            options = replace(options, onnx_file=file)
        return open_engine(str(exported), options)

    return open_one


@pytest.fixture(params=["paddle", "paddle, plain", "openvino", "onnxruntime"])
def engine(request, open_as):
    name, comma, _ = request.param.partition(",")
    return open_as(name, onednn=not comma)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint):
    return dygraph_runner(load_classifier(str(tiny_checkpoint))[0])


def batch_of(shape, rng, vocab_size):
    """Random ids whose last row is padded in its second half, and types."""
    ids = rng.randint(1, vocab_size, shape)
    ids[-1, shape[1] // 2 + 1 :] = 0
    return ids, rng.randint(0, 2, shape)


def test_the_same_logits_as_dygraph(engine, reference, tiny_config):
    rng = np.random.RandomState(2)
    lengths = [(rng.randint(1, 5), length) for length in rng.randint(1, 65, 200)]
    for shape in (*SHAPES, *lengths):
        batch = batch_of(shape, rng, tiny_config.vocab_size)
        np.testing.assert_allclose(engine.run(*batch), reference(*batch), atol=1e-5)


def test_an_answer_stays_when_the_next_one_is_computed(engine):
    rng = np.random.RandomState(3)
    batches = [batch_of((2, 8), rng, 40) for _ in range(2)]
    first = engine.run(*batches[0])
    kept = first.copy()
    assert not np.array_equal(engine.run(*batches[1]), kept)
    np.testing.assert_array_equal(first, kept)


@needs_openvino
def test_threads_share_an_openvino_engine(exported, reference):
    engine = open_engine(str(exported), EngineOptions(engine="openvino", cpu_threads=1))
    batches = [batch_of((2, 5 + i), np.random.RandomState(i), 40) for i in range(4)]
    expected = [reference(*batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda batch: engine.run(*batch), batches * 30)
    for logits, wanted in zip(found, expected * 30):
        np.testing.assert_allclose(logits, wanted, atol=1e-5)


@needs_openvino
def test_openvino_releases_weights_after_they_were_packed(exported, monkeypatch):
    engine = open_engine(str(exported), EngineOptions(engine="openvino", cpu_threads=1))
    released = []
    monkeypatch.setattr(engine, "_release_pages", lambda: released.append(batch.size))
    for shape in ((4, 8), (1, 8), (2, 8), (1, 3), (5, 9)):
        batch = np.ones(shape, np.int64)
        engine.run(batch, np.zeros_like(batch))
    assert released == [32, 8, 3, 45]


SIGNAL_AFTER_CLOSING = """
import signal, sys
from convbert.inference.engines import EngineOptions, open_engine
engines = [open_engine(sys.argv[1], EngineOptions(engine="openvino")) for _ in range(3)]
while engines:
    del engines[0]
signal.signal(signal.SIGTERM, lambda number, frame: print("arrived"))
signal.raise_signal(signal.SIGTERM)
"""


@needs_openvino
def test_a_signal_arrives_after_openvino_engines_were_closed(exported):
    done = run_python("-c", SIGNAL_AFTER_CLOSING, exported)
    assert (done.returncode, done.stdout) == (0, "arrived\n"), done.stderr


@needs_openvino
def test_openvino_does_without_paddle(exported, tmp_path, run_script):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys; sys.modules['paddle'] = None\n"
        "atexit.register(lambda: print('usage is reported', 'openvino_telemetry' in sys.modules))\n"
    )
    flags = ["--engine", "openvino", "--model_dir", exported, "--benchmark"]
    flags += ["--save_results", "r.json", "--output_npy", "a.npy"]
    done = run_script(INFER, *flags, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "engine openvino" in done.stdout
    assert "usage is reported False" in done.stdout
    assert "precision fp32" in done.stdout
    results = json.loads((tmp_path / "r.json").read_text())
    assert (results["engine"], results["precision"]) == ("openvino", "fp32")
    answers = np.load(tmp_path / "a.npy", allow_pickle=True).item()
    assert answers["label_id"].tolist() == results["label_id"]


@pytest.mark.parametrize("missing", ["openvino", "onnxruntime"])
def test_a_missing_package(exported, tmp_path, run_script, missing):
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules['{missing}'] = None\n")
    flags = ["--engine", missing, "--model_dir", exported]
    done = run_script(INFER, *flags, env={"PYTHONPATH": str(tmp_path)})
    assert_refused(done, "package-missing", "requirements-")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"engine": "tensorrt"}, "engine"),
        ({"engine": "openvino", "precision": "fp16"}, "precision"),
        ({"engine": "onnxruntime", "precision": "bf16"}, "precision"),
        ({"engine": "onnxruntime", "precision": "int8"}, "precision"),
        ({"engine": "openvino", "use_gpu": True}, "device"),
        ({"engine": "paddle", "precision": "int8"}, "precision"),
        ({"engine": "paddle", "precision": "fp16"}, "precision"),
        ({"engine": "paddle", "precision": "bf16"}, "precision"),
    ],
)
def test_what_an_engine_does_not_run(options, code):
    with raises_code(code):
        EngineOptions(**options)


def _cut(directory, name, size):
    path = directory / name
    path.write_bytes(path.read_bytes()[:size])


def _as_paddle3(directory):
    (directory / "inference.pdmodel").unlink()
    (directory / "inference.json").write_text("{}")


@needs_openvino
@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (lambda d: shutil.rmtree(d), "file-missing", "broken"),
        (lambda d: (d / "inference.pdmodel").unlink(), "export", "inference.pdmodel"),
        (lambda d: (d / "inference.pdiparams").unlink(), "export", "inference.pdiparams"),
        (lambda d: _cut(d, "inference.pdmodel", 5000), "engine", "inference.pdmodel"),
        (lambda d: _cut(d, "inference.pdmodel", 0), "engine", "inference.pdmodel"),
        (lambda d: _cut(d, "inference.pdiparams", 5000), "engine", "inference.pdmodel"),
        (lambda d: (d / "tokenizer_config.json").unlink(), "export", "tokenizer_config.json"),
        (_as_paddle3, "engine", "inference.json"),
    ],
)
def test_a_damaged_export(exported, tmp_path, change, code, fact):
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    change(broken)
    with raises_code(code, fact):
        open_exported(str(broken), EngineOptions(engine="openvino"))


@pytest.fixture
def foreign(exported, tmp_path):
    """An exported model as another tool writes it: without configuration and manifest."""
    directory = tmp_path / "foreign"
    shutil.copytree(exported, directory)
    for name in ("model_config.json", "manifest.json"):
        (directory / name).unlink(missing_ok=True)
    return directory


@needs_openvino
def test_a_model_of_another_tool(foreign):
    _, processor = open_exported(str(foreign))
    assert processor.num_classes == 2
    with raises_code("export", "model_config.json"):
        open_exported(str(foreign), EngineOptions(engine="openvino"))
    with open(foreign / "vocab.txt", "a") as file:
        file.write("oneword\n")
    with raises_code("vocabulary", foreign):
        open_exported(str(foreign))


def test_a_program_that_is_none(foreign):
    """Paddle Inference itself crashes on this file."""
    (foreign / "inference.pdmodel").write_bytes(b"no program")
    with raises_code("engine", "inference.pdmodel"):
        open_exported(str(foreign))


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs requirements-onnx.txt")
def test_a_damaged_onnx_file(tmp_path):
    for content, code in ((None, "file-missing"), (b"not a model", "engine"), (b"", "engine")):
        if content is not None:
            (tmp_path / "model.onnx").write_bytes(content)
        options = EngineOptions(engine="onnxruntime", onnx_file=str(tmp_path / "model.onnx"))
        with raises_code(code, "model.onnx"):
            open_engine(str(tmp_path), options)
    with raises_code("command-line", "--onnx_file"):
        open_engine(str(tmp_path), EngineOptions(engine="onnxruntime"))


@pytest.mark.skipif(find_spec("paddle2onnx") is None, reason="needs requirements-onnx.txt")
def test_a_program_that_cannot_be_converted(exported, tmp_path):
    shutil.copyfile(exported / "inference.pdmodel", tmp_path / "inference.pdmodel")
    with raises_code("engine", tmp_path):  # without weights
        onnx_runtime.convert(str(tmp_path), str(tmp_path / "model.onnx"))
    with raises_code("engine", tmp_path / "none"):
        onnx_runtime.convert(str(tmp_path / "none"), str(tmp_path / "model.onnx"))


@needs_openvino
def test_int8_of_a_float_model(exported):
    with raises_code("precision", "inference.pdmodel", "int8"):
        open_engine(str(exported), EngineOptions(engine="openvino", precision="int8"))


@needs_openvino
def test_bf16_runs_only_where_the_processor_has_it(exported):
    import openvino

    options = EngineOptions(engine="openvino", precision="bf16")
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert np.isfinite(
            open_engine(str(exported), options).run(*batch_of((2, 9), np.random, 40))
        ).all()
    else:
        with raises_code("precision", "bf16"):
            open_engine(str(exported), options)


@needs_openvino
@pytest.mark.usefixtures("cache")
class TestCache:
    """The cache of compiled models."""

    @pytest.fixture
    def compiled(self, monkeypatch):
        """An entry for each model that OpenVINO compiled instead of opening a compiled one."""
        from convbert.inference.engines.openvino import OpenvinoEngine

        entries, compile_model = [], OpenvinoEngine._compile
        monkeypatch.setattr(
            OpenvinoEngine, "_compile", lambda engine: entries.append(1) or compile_model(engine)
        )
        return entries

    def logits(self, directory):
        options = EngineOptions(engine="openvino", cpu_threads=1)
        return open_engine(str(directory), options).run(
            *batch_of((2, 9), np.random.RandomState(5), 40)
        )

    def test_a_second_start_compiles_nothing(self, exported, tmp_path, compiled, cache):
        first = self.logits(exported)
        shutil.copytree(exported, tmp_path / "moved")  # another place, the same content
        np.testing.assert_array_equal(self.logits(tmp_path / "moved"), first)
        assert len(compiled) == 1
        assert len(list(cache.iterdir())) == 1

    def test_other_weights_of_the_same_size(self, exported, tmp_path, compiled, tiny_checkpoint):
        first = self.logits(exported)
        changed = tmp_path / "changed"
        shutil.copytree(exported, changed)
        params = changed / "inference.pdiparams"
        model, _ = load_classifier(str(tiny_checkpoint))
        weight = model.classifier.out_proj.weight.numpy()
        stat, content = params.stat(), params.read_bytes()
        params.write_bytes(content.replace(weight.tobytes(), (-weight).tobytes()))
        os.utime(params, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert np.abs(self.logits(changed) - first).max() > 1e-3
        assert len(compiled) == 2

    @pytest.mark.parametrize("damage", ["empty", "other", "cut", "another weight"])
    def test_a_damaged_entry_is_replaced(self, exported, compiled, cache, tiny_checkpoint, damage):
        first = self.logits(exported)
        (entry,) = cache.iterdir()
        whole = entry.read_bytes()
        if damage == "another weight":  # OpenVINO would not notice it
            fill_row(entry, tiny_checkpoint, "story", 1.0)
        else:
            entry.write_bytes({"empty": b"", "other": b"damaged", "cut": whole[:40000]}[damage])
        np.testing.assert_array_equal(self.logits(exported), first)
        np.testing.assert_array_equal(self.logits(exported), first)
        assert len(compiled) == 2

    @pytest.mark.parametrize("filled", [True, False])
    def test_nothing_can_be_written(self, exported, compiled, cache, monkeypatch, filled):
        first = self.logits(exported) if filled else None

        def refuse(*args, **kwargs):
            raise PermissionError(30, "Read-only file system")

        # As root, the tests could write in a folder without write permission.
        monkeypatch.setattr(compiled_cache, "atomic_write", refuse)
        monkeypatch.setattr(compiled_cache.os, "utime", refuse)
        again = self.logits(exported)
        assert len(compiled) == 1
        assert first is None or np.array_equal(again, first)
        assert filled or not cache.exists()

    def test_a_cache_folder_that_cannot_be_made(self, exported, tmp_path, compiled, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        self.logits(exported)
        self.logits(exported)
        assert len(compiled) == 2

    def test_the_folder_is_bounded(self, exported, cache, monkeypatch):
        self.logits(exported)
        (entry,) = cache.iterdir()
        size = entry.stat().st_size
        for number in range(5):
            old = cache / f"{number}.blob"
            old.write_bytes(bytes(size))
            os.utime(old, (number, number))
        monkeypatch.setattr(compiled_cache, "MAX_BYTES", 3 * size)
        assert compiled_cache.store(cache / "new.blob", bytes(size // 2))
        assert {path.name for path in cache.iterdir()} == {"4.blob", entry.name, "new.blob"}

    def test_processes_start_together(self, exported, run_script, cache, tmp_path):
        flags = ["--engine", "openvino", "--model_dir", exported, "--text", "a good film"]

        def start(name):
            return run_script(INFER, *flags, "--output_npy", tmp_path / name)

        with ThreadPoolExecutor(3) as threads:
            outputs = list(threads.map(start, ("1.npy", "2.npy", "3.npy")))
        assert [done.returncode for done in outputs] == [0, 0, 0], outputs
        assert len({done.stdout for done in outputs}) == 1
        assert len(list(cache.iterdir())) == 1
