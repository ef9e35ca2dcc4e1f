"""Post-training quantization: the thresholds, the int8 program, wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convbert.inference.engines.paddle_inference import EngineOptions, Predictor
from convbert.inference.quantize_paddle import has_vnni, kl_threshold, quantize_export
from convbert.text.processing import TextProcessor
from tests.helpers.errors import raises_code

TEXTS = ["a good film .", "the script is bad", "it was a very dull story , not good !"] * 4


@pytest.mark.parametrize("kind", ["normal", "outlier", "few", "low", "empty"])
def test_the_threshold_is_paddles(kind):
    """The same number as Paddle's own search, whose loops take seconds per tensor."""
    reference = pytest.importorskip("paddle.static.quantization.cal_kl_threshold")
    rng = np.random.RandomState(0)
    values = {
        "normal": np.abs(rng.normal(size=5000)),
        "outlier": np.append(np.abs(rng.normal(size=3000)), 40.0),
        "few": rng.uniform(size=300),
        "low": np.append(rng.uniform(0, 0.1, 500), 1.0),
        "empty": np.zeros(10),
    }[kind]
    hist, edges = np.histogram(values, bins=512)
    if kind == "empty":
        hist[:] = 0
        hist[30] = 3
    width = edges[1] - edges[0]
    assert kl_threshold(hist, width, 8) == reference.cal_kl_threshold(hist, width, 8)


@pytest.fixture(scope="module")
def int8_dir(tmp_path_factory, tiny_export):
    if not (tiny_export / "inference.pdmodel").is_file():
        pytest.skip("this Paddle writes no .pdmodel")
    directory = tmp_path_factory.mktemp("int8") / "convbert_infer_int8"
    quantize_export(str(tiny_export), str(directory), TEXTS, algo="abs_max", batch_size=4)
    return directory


def run_texts(model_dir, options):
    """Logits of the calibration sentences."""
    processor = TextProcessor.from_dir(str(model_dir))
    return Predictor(str(model_dir), options).run(*processor.collate(processor.encode(TEXTS[:3])))


def test_the_roundings_are_small_but_there(int8_dir, tiny_export):
    exact = run_texts(tiny_export, EngineOptions())
    rounded = run_texts(int8_dir, EngineOptions(use_mkldnn=False))
    difference = np.abs(rounded - exact).max()
    assert 0 < difference < 0.05 * np.abs(exact).max()


def test_the_integer_kernels_run(int8_dir, tiny_export):
    exact = run_texts(tiny_export, EngineOptions())
    simulated = run_texts(int8_dir, EngineOptions(use_mkldnn=False))
    integer = run_texts(int8_dir, EngineOptions(precision="int8"))
    # They also round what passes between layers, which the simulation keeps in float: 0.14 with
    # VNNI here. Without it they saturate, worst of all for random weights as these are.
    allowed = 0.25 if has_vnni() else 1.0
    assert np.abs(integer - simulated).max() > 1e-4  # else the float kernels ran
    assert np.abs(integer - exact).max() < allowed * np.abs(exact).max()


def test_grouped_layers_stay_in_float(int8_dir):
    """Their 3-D weights would be scaled along the wrong axis."""
    import paddle

    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        program, _, _ = paddle.static.load_inference_model(str(int8_dir / "inference"), executor)
    finally:
        paddle.disable_static()
    products = [op for op in program.global_block().ops if op.type == "matmul_v2"]
    rounded = [op for op in products if "quantized" in op.input("X")[0]]
    weights = [program.global_block().var(op.input("Y")[0]) for op in rounded]
    # Projection, q, k, v, kernel, values, output of two layers, and the head; 4 grouped ones left.
    assert len(rounded) == 1 + 2 * 6 + 2
    assert {len(weight.shape) for weight in weights} == {2}


def test_the_tokenizer_comes_along(int8_dir, tiny_export):
    for name in ("vocab.txt", "tokenizer_config.json"):
        assert (int8_dir / name).read_bytes() == (tiny_export / name).read_bytes()


def test_the_command(tmp_path, tiny_export, run_script, int8_dir):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    target, results = tmp_path / "int8", tmp_path / "done.json"
    done = run_script(
        "tools/quantize_model.py",
        *(
            "--engine",
            "paddle",
            "--model_dir",
            tiny_export,
            "--save_inference_dir",
            target,
            "--calib_file",
            texts,
        ),
        *("--calib_size", 5, "--algo", "hist", "--save_results", results),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(results.read_text())
    assert report["texts"] == 5
    assert report["quantized_ops"] == 15
    assert report["agreement_in_float"] == 1.0
    assert (target / "inference.pdmodel").is_file()
    assert "|" not in done.stderr  # no progress bars in a log


def test_wrong_input(tmp_path, tiny_export, int8_dir):
    with raises_code("calibration"):
        quantize_export(str(tiny_export), str(tmp_path / "x"), [])
    with raises_code("file-missing", tmp_path / "none"):
        quantize_export(str(tmp_path / "none"), str(tmp_path / "x"), TEXTS)
    assert not (tmp_path / "x").exists()


def test_a_program_of_paddle_3_is_refused(tmp_path, tiny_export):
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).write_text("{}")
    with raises_code("engine", "inference.json"):
        quantize_export(str(tmp_path), str(tmp_path / "x"), TEXTS)
