"""Post-training quantization to int8 for OpenVINO, calibrated on real sentences, by NNCF.

The quantized model is written only if it is about as accurate as the float one. SmoothQuant (arXiv
2211.10438), which moves outliers from the activations to the weights, is tried first.
"""

import contextlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convbert.inference.classify import Timings, classify
from convbert.inference.engines import INPUTS, EngineOptions, not_exported, openvino
from convbert.inference.exported import open_processor
from convbert.text.processing import TextProcessor
from convbert.text.reading import Row
from paddlenlp.transformers.checkpoint import CONFIG_FILE
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import MANIFEST_FILE, product_directory, verify

# The depthwise convolution stays in float: the quantized one fails at run time for some shapes.
FLOAT_TYPES = ["GroupConvolution"]
LATENCY_TEXTS = 200


def quantize_export(
    model_dir: str,
    save_dir: str,
    texts: Sequence[Row],
    dev: Sequence[Row],
    max_drop: float = 0.5,
    threads: int | None = None,
) -> dict[str, Any]:
    """Quantize an exported directory; write the result unless it loses too much accuracy.

    Args:
        model_dir: directory written by ``tools/export_model.py`` under Paddle 2.6.
        save_dir: directory to write; it is written atomically.
        texts: calibration sentences similar to the later input; none of ``dev``.
        dev: sentences with the ids of their true labels.
        max_drop: the accuracy that may be lost, in points (hundredths).
        threads: threads of the engine; None: all cores.

    Returns:
        The settings; accuracy, size and latency of both models; the share of equal labels.

    Raises:
        UserError: a package is missing, the model or a text cannot be used, or the accuracy drops
            more than ``max_drop``.
    """
    files = openvino.find_model(model_dir)  # before the packages are imported, which takes long
    nncf = _require_nncf()
    model = _float_model(files)
    processor = open_processor(model_dir)
    items = calibration_items(processor, texts)
    options = EngineOptions(engine="openvino", cpu_threads=threads)
    with product_directory(save_dir, "quantized model", [model_dir]) as work:
        _copy_companions(model_dir, str(work))
        float_ids, before = measure(model_dir, processor, dev, options)
        for smooth in (True, False):
            inputs = _write(_quantize(nncf, model, items, smooth), str(work))
            int8_options = replace(options, precision="int8")
            int8_ids, after = measure(str(work), processor, dev, int8_options)
            drop = 100 * (before["accuracy"] - after["accuracy"])
            if drop <= max_drop:
                break
        else:
            lost = f"{drop:.2f} points of the accuracy {before['accuracy']:.4f}"
            raise UserError(
                "accuracy",
                f"int8 loses {lost}, more than --max_drop {max_drop}: nothing was written; "
                "calibrate with more or other sentences, or allow a larger drop",
            )
    return {
        "engine": "openvino",
        "texts": len(texts),
        "padded_length": items[0][INPUTS[0]].shape[1],
        "smooth_quant": smooth,
        "quantized_inputs": inputs,
        "max_drop": max_drop,
        "dev_texts": len(dev),
        "float": before,
        "int8": after,
        "drop": drop,
        "agreement": sum(a == b for a, b in zip(float_ids, int8_ids)) / len(dev),
    }


def _float_model(files: tuple[str, str]):
    """Read the exported model; raise `UserError` if it is damaged or quantized already."""
    model_dir = os.path.dirname(files[0])
    verify(model_dir)  # the quantized model gets its own manifest
    model = openvino.read_model(*files)
    if openvino.is_quantized(model):
        raise UserError("precision", f"'{model_dir}' is quantized already: give the float model")
    if not os.path.isfile(os.path.join(model_dir, CONFIG_FILE)):
        raise not_exported(model_dir, CONFIG_FILE)
    return model


def calibration_items(
    processor: TextProcessor, texts: Sequence[Row]
) -> list[dict[str, np.ndarray]]:
    """Encode each text separately, two [1, L] int64 arrays, all padded to the longest one.

    NNCF concatenates the activations of all texts, so their lengths must be equal.
    """
    if not texts:
        message = "there are no sentences to calibrate with: correct --calib_file"
        raise UserError("calibration", message)
    features = processor.encode([row.text for row in texts], places=[row.where for row in texts])
    longest = processor.collate(features)[0].shape[1]
    padded = TextProcessor(processor.tokenizer, longest, pad_multiple=longest)
    return [dict(zip(INPUTS, padded.collate([feature]))) for feature in features]


def measure(
    model_dir: str, processor: TextProcessor, dev: Sequence[Row], options: EngineOptions
) -> tuple[list[int], dict[str, Any]]:
    """Classify some dev texts one by one, for the latency, and all in batches.

    Returns:
        The label ids; accuracy, bytes of the weights, and median ms of a run by batch size.
    """
    engine, ms = openvino.OpenvinoEngine(model_dir, options), {}
    for size, rows in ((1, dev[:LATENCY_TEXTS]), (8, dev)):
        timings = Timings()
        answers = list(classify(rows, processor, engine.run, size, timings))
        ms[size] = float(np.median(timings.batches) * 1000)
    correct = sum(row.label_id == prediction.label_id for row, prediction in answers)
    weight_bytes = os.path.getsize(engine.files[1])
    numbers = {"accuracy": correct / len(answers), "weight_bytes": weight_bytes, "ms": ms}
    return [prediction.label_id for _, prediction in answers], numbers


def _quantize(nncf, model, items: list[dict[str, np.ndarray]], smooth: bool):
    alphas = nncf.AdvancedSmoothQuantParameters()
    if not smooth:
        alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    # Show NNCF's progress bars only on a terminal, and never on standard output.
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(items),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(items),
            ignored_scope=nncf.IgnoredScope(types=FLOAT_TYPES),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=alphas,
                # Weights of 7 bits. With 8 the products overflow on processors without VNNI, and
                # the accuracy would depend on the processor.
                overflow_fix=nncf.OverflowFix.ENABLE,
            ),
        )


def _write(model, directory: str) -> int:
    """Write the model and return how many inputs of its operators are quantized."""
    path = os.path.join(directory, openvino.MODEL_FILES[0][0])
    try:
        openvino.require_openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # does not say why
        raise UserError(
            "not-writable", f"cannot write {path} ({error}): free space, or write elsewhere"
        ) from None
    return sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _copy_companions(model_dir: str, save_dir: str) -> None:
    """Copy the vocabulary and the other files beside the program."""
    for name in os.listdir(model_dir):
        path = os.path.join(model_dir, name)
        if os.path.isfile(path) and not name.startswith(("inference.", MANIFEST_FILE)):
            shutil.copyfile(path, os.path.join(save_dir, name))


def _require_nncf():
    """Import NNCF with usage reports turned off; raise `UserError` if it is not installed."""
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError:
        raise UserError(
            "package-missing", "NNCF is not installed: pip install -r requirements-openvino.txt"
        ) from None
    nncf.set_log_level(logging.ERROR)
    return nncf
