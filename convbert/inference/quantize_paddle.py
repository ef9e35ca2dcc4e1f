"""Post-training quantization for the int8 kernels of Paddle Inference, calibrated on sentences.

The thresholds come from Paddle's `PostTrainingQuantization`. The result is a program with float
activations at its inputs and outputs. `Predictor` runs it with integer kernels (precision "int8"),
or with the same rounding in float ("fp32"), which is what a CPU with VNNI computes.

Without VNNI (AVX2, plain AVX-512) oneDNN's integer kernels add products in 16 bits and saturate:
their answers are less accurate than those with rounding in float.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import numpy as np

from convbert.command.machine import cpu_fields
from convbert.inference.engines.paddle_inference import (
    PARAMS_FILE,
    EngineOptions,
    Predictor,
    find_program,
)
from convbert.inference.exported import open_processor
from convbert.inference.program import PROGRAM_FILES
from convbert.inference.quantize import copy_companions
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.logits import predicted_classes
from paddlenlp.utils.products import product_directory

# Matrix products; oneDNN runs those with a weight as int8 (see `INT8_OPERATORS`).
QUANTIZED_OPS = ["matmul_v2"]
Batch = tuple[np.ndarray, np.ndarray]  # input_ids, token_type_ids: [B, L] int64


def quantize_export(
    model_dir: str, save_dir: str, texts: Sequence[str], algo: str = "KL", batch_size: int = 8
) -> dict:
    """Quantize an exported directory and check that the result runs.

    Args:
        model_dir: directory written by ``tools/export_model.py`` under Paddle 2.6.
        save_dir: directory to write; it is written atomically.
        texts: calibration sentences similar to the later input; none of the evaluation data.
        algo: how the range of an activation is chosen: "KL", "hist", "mse" or "abs_max".
        batch_size: sentences per calibration run.

    Returns:
        Sentences, quantized operators, bytes of both programs' weights, whether the CPU has VNNI,
        and the share of the calibration sentences whose label did not change, with integer kernels
        (``agreement``) and with rounding in float (``agreement_in_float``).

    Raises:
        UserError: there is no program that can be quantized, no text, or the result does not run.
    """
    program, params = find_program(model_dir)
    if not program.endswith(PROGRAM_FILES[0]):
        raise UserError(
            "precision", f"{program} cannot be quantized: export the model under Paddle 2.6 first"
        )
    if not texts:
        raise UserError("calibration", "there are no sentences to calibrate with")
    processor = open_processor(model_dir, pad_multiple=1)
    features = processor.encode(texts)
    starts = range(0, len(features), batch_size)
    batches = [processor.collate(features[start : start + batch_size]) for start in starts]
    with product_directory(save_dir, "quantized model", [model_dir]) as work:
        quantized = _quantize(model_dir, str(work), batches, algo)
        copy_companions(model_dir, str(work))
        before = _labels(model_dir, EngineOptions(), batches)
        roundings = _labels(str(work), EngineOptions(use_mkldnn=False), batches)
        integer = _labels(str(work), EngineOptions(precision="int8"), batches)
        size = os.path.getsize(os.path.join(str(work), PARAMS_FILE))
    return {
        "algo": algo,
        "texts": len(texts),
        "quantized_ops": quantized,
        "params_bytes": {"before": os.path.getsize(params), "after": size},
        "agreement": float((before == integer).mean()),
        "agreement_in_float": float((before == roundings).mean()),
        "vnni": has_vnni(),
    }


def has_vnni() -> bool:
    """Whether this CPU adds int8 products in 32 bits."""
    return bool(
        {"avx512_vnni", "avx_vnni", "amx_int8"} & set(cpu_fields().get("flags", "").split())
    )


def _quantize(model_dir: str, save_dir: str, batches: list[Batch], algo: str) -> int:
    """Calibrate, write ``save_dir``/inference.*, and return the number of quantized operators."""
    import paddle
    from paddle.static.quantization import PostTrainingQuantization

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with _static_mode(), paddle.static.scope_guard(scope), _fast_kl(), _quiet():
        skipped = _without_plain_weight(model_dir, executor)
        quantizer = PostTrainingQuantization(
            executor=executor,
            scope=scope,
            model_dir=model_dir,
            model_filename=PROGRAM_FILES[0],
            params_filename=PARAMS_FILE,
            data_loader=_loader(batches),
            batch_nums=len(batches),
            algo=algo,
            quantizable_op_type=list(QUANTIZED_OPS),
            skip_tensor_list=skipped,
            # One scale per tensor: with one per channel, oneDNN in 2.6.2 scales square weights
            # along the wrong axis (10 % error of the output instead of 1 %).
            weight_quantize_type="abs_max",
            # oneDNN in 2.6.2 does not run the other format (quantize_linear).
            onnx_format=False,
        )
        program = quantizer.quantize()
        quantizer.save_quantized_model(save_dir, PROGRAM_FILES[0], PARAMS_FILE)
    products = [op for op in program.global_block().ops if op.type in QUANTIZED_OPS]
    return sum("quantized" in op.input("X")[0] for op in products)


def _without_plain_weight(model_dir: str, executor) -> list[str]:
    """Return the names of the second factors of the matrix products that stay in float.

    These are products of two activations, which have no int8 kernel here, and grouped linear
    layers, whose [G, in, out] weights Paddle scales along the wrong axis.
    """
    import paddle

    prefix = os.path.join(model_dir, PROGRAM_FILES[0].rpartition(".")[0])
    program, _, _ = paddle.static.load_inference_model(prefix, executor)
    block = program.global_block()
    factors = [op.input("Y")[0] for op in block.ops if op.type in QUANTIZED_OPS]
    variables = {name: block.var(name) for name in factors}
    return [name for name, var in variables.items() if not var.persistable or len(var.shape) != 2]


def _loader(batches: list[Batch]):
    """Wrap complete batches in the class that Paddle requires."""
    import paddle

    class Batches(paddle.io.Dataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            return dict(zip(("input_ids", "token_type_ids"), batches[index]))

    return paddle.io.DataLoader(Batches(), batch_size=None)


@contextmanager
def _static_mode() -> Iterator[None]:
    import paddle

    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if dynamic:
            paddle.disable_static()


@contextmanager
def _fast_kl() -> Iterator[None]:
    """Replace Paddle's threshold search, 2 seconds per tensor in Python, with `kl_threshold`."""
    from paddle.static.quantization import post_training_quantization as paddle_module

    original = getattr(paddle_module, "cal_kl_threshold", None)
    paddle_module.cal_kl_threshold = kl_threshold
    try:
        yield
    finally:
        paddle_module.cal_kl_threshold = original


@contextmanager
def _quiet() -> Iterator[None]:
    """Show Paddle's progress bars only on a terminal."""
    if sys.stderr.isatty():
        yield
    else:
        with redirect_stderr(io.StringIO()):
            yield


def kl_threshold(hist: np.ndarray, bin_width: float, bits: int) -> float:
    """Find where to clip an activation so that its histogram changes least when quantized.

    For every clipping point in the upper half, the histogram up to it (with everything beyond added
    to its last bin) is compared with its version in ``2^(bits-1) - 1`` levels. The point with the
    smallest Kullback-Leibler divergence is chosen (Migacz, "8-bit inference with TensorRT", 2017).

    Args:
        hist: [bins] counts of absolute values, from 0 on.
        bin_width: width of a bin, in units of the activation.
        bits: bits of the quantized number, sign included.

    Returns:
        The threshold, in units of the activation.
    """
    counts = np.asarray(hist, dtype=np.float64)
    levels = 2 ** (bits - 1) - 1
    first = (len(counts) - 1) // 2
    best: tuple[float, int] | None = None
    for clip in range(max(first, levels), len(counts)):
        if counts[clip - 1] == 0:
            continue
        divergence = _divergence(counts, clip, levels)
        if best is None or divergence < best[0]:
            best = (divergence, clip)
    if best is None:  # nothing in the upper half: clip at the last value that occurs
        used = np.flatnonzero(counts[: first + 1])
        best = (0.0, int(used[-1]) if len(used) else 0)
    return (best[1] + 0.5) * bin_width


def _divergence(counts: np.ndarray, clip: int, levels: int) -> float:
    """KL divergence of the clipped histogram from its version in ``levels`` levels."""
    clipped = counts[:clip].copy()
    clipped[-1] += counts[clip:].sum()
    occurs = clipped > 0
    starts = np.arange(levels) * (clip // levels)  # the last level takes the remaining bins
    widths = np.diff(np.append(starts, clip))
    merged = np.add.reduceat(counts[:clip], starts)
    share = merged / np.maximum(np.add.reduceat(occurs.astype(np.float64), starts), 1)
    p, q = clipped[occurs], np.repeat(share, widths)[occurs]
    return float((p * np.log((q.sum() * p) / (p.sum() * q))).sum() / p.sum())


def _labels(model_dir: str, options: EngineOptions, batches: list[Batch]) -> np.ndarray:
    """Run a program over all batches; label ids [texts].

    Raises:
        UserError: it does not run here.
    """
    try:
        engine = Predictor(model_dir, options)
        return np.concatenate([predicted_classes(engine.run(*batch)) for batch in batches])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            "precision",
            f"the quantized program does not run with {options.precision} ({reason}): "
            "nothing was written",
        ) from None
