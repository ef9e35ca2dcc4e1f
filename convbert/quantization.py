"""Post-training quantization of an exported program to int8, calibrated on real sentences.

The thresholds of the activations come from Paddle's `PostTrainingQuantization`; weights are scaled
per output channel. The program stays a program with float inputs and logits, and runs through
`convbert.predictor.Predictor` with precision "int8".
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stderr
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np

from convbert.predictor import PARAMS_FILE, PROGRAM_FILES, EngineOptions, Predictor, find_program
from convbert.processing import TextProcessor
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_directory

ALGORITHMS = ("KL", "hist", "mse", "abs_max")
# The matrix products; the oneDNN engine runs those with a weight as int8 (see the predictor).
QUANTIZED_OPS = ["matmul_v2"]
Batch = Tuple[np.ndarray, np.ndarray]  # input_ids, token_type_ids: [B, L] int64


def quantize_export(
    model_dir: str, save_dir: str, texts: Sequence[str], algo: str = "KL", batch_size: int = 8
) -> dict:
    """Quantize an exported directory and prove that the result runs.

    Args:
        model_dir: what ``tools/export_model.py`` wrote under Paddle 2.6.
        save_dir: directory to write, whole or not at all.
        texts: sentences like those to come, for calibration; never the ones it is judged on.
        algo: how the range of an activation is chosen, one of `ALGORITHMS`.
        batch_size: sentences per calibration run.

    Returns:
        What was done: sentences, quantized operators, bytes of both programs' weights, and
        ``agreement``, the share of the calibration sentences whose label did not change.

    Raises:
        UserError: no program that can be quantized, no text, or a result that does not run.
    """
    program, params = find_program(model_dir)
    if not program.endswith(PROGRAM_FILES[0]):
        raise UserError(f"{program} cannot be quantized: export the model under Paddle 2.6 first")
    if not texts:
        raise UserError("no sentence to calibrate with: give a file with some")
    processor = TextProcessor.from_dir(model_dir)
    features = processor.encode(texts)
    starts = range(0, len(features), batch_size)
    batches = [processor.collate(features[start : start + batch_size]) for start in starts]
    with atomic_directory(save_dir) as work:
        quantized = _quantize(model_dir, str(work), batches, algo)
        _copy_companions(model_dir, str(work))
        agreement = _agreement(model_dir, str(work), batches)
        size = os.path.getsize(os.path.join(str(work), PARAMS_FILE))
    return {
        "algo": algo,
        "texts": len(texts),
        "quantized_ops": quantized,
        "params_bytes": {"before": os.path.getsize(params), "after": size},
        "agreement": agreement,
    }


def _quantize(model_dir: str, save_dir: str, batches: List[Batch], algo: str) -> int:
    """Calibrate, write ``save_dir``/inference.*, and return the number of quantized operators."""
    import paddle
    from paddle.static.quantization import PostTrainingQuantization

    scope, place = paddle.static.Scope(), paddle.CPUPlace()
    with _static_mode(), paddle.static.scope_guard(scope), _fast_kl(), _quiet():
        quantizer = PostTrainingQuantization(
            executor=paddle.static.Executor(place),
            scope=scope,
            model_dir=model_dir,
            model_filename=PROGRAM_FILES[0],
            params_filename=PARAMS_FILE,
            data_loader=_loader(batches),
            batch_nums=len(batches),
            algo=algo,
            quantizable_op_type=list(QUANTIZED_OPS),
            weight_quantize_type="channel_wise_abs_max",
            # The other form (quantize_linear) does not run in the oneDNN engine of 2.6.2.
            onnx_format=False,
        )
        program = quantizer.quantize()
        quantizer.save_quantized_model(save_dir, PROGRAM_FILES[0], PARAMS_FILE)
    ops = program.global_block().ops
    return sum(op.type in QUANTIZED_OPS and bool(op.attr("quantization_type")) for op in ops)


def _copy_companions(model_dir: str, save_dir: str) -> None:
    """Copy the vocabulary and whatever else lies beside the program."""
    for name in os.listdir(model_dir):
        path = os.path.join(model_dir, name)
        if os.path.isfile(path) and not name.startswith("inference."):
            shutil.copyfile(path, os.path.join(save_dir, name))


def _loader(batches: List[Batch]):
    """Wrap whole batches in the class that Paddle insists on."""
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
    """Use `kl_threshold` for the search that takes Paddle some 2 seconds per tensor in Python."""
    from paddle.static.quantization import post_training_quantization as paddle_module

    original = getattr(paddle_module, "cal_kl_threshold", None)
    paddle_module.cal_kl_threshold = kl_threshold
    try:
        yield
    finally:
        paddle_module.cal_kl_threshold = original


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Paddle's progress bars out of a log file; on a terminal they are useful."""
    if sys.stderr.isatty():
        yield
    else:
        with redirect_stderr(io.StringIO()):
            yield


def kl_threshold(hist: np.ndarray, bin_width: float, bits: int) -> float:
    """Find where to clip an activation so that its histogram changes least when quantized.

    For every clipping point in the upper half, the histogram up to it (with everything beyond added
    to its last bin) is compared with its version in ``2^(bits-1) - 1`` levels by the
    Kullback-Leibler divergence; the least one wins (Migacz, "8-bit inference with TensorRT", 2017).

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
    best: Optional[Tuple[float, int]] = None
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
    """KL divergence of the clipped histogram from its own version in ``levels`` levels."""
    clipped = counts[:clip].copy()
    clipped[-1] += counts[clip:].sum()
    occurs = clipped > 0
    starts = np.arange(levels) * (clip // levels)  # the last level takes what is left over
    widths = np.diff(np.append(starts, clip))
    merged = np.add.reduceat(counts[:clip], starts)
    share = merged / np.maximum(np.add.reduceat(occurs.astype(np.float64), starts), 1)
    p, q = clipped[occurs], np.repeat(share, widths)[occurs]
    return float((p * np.log((q.sum() * p) / (p.sum() * q))).sum() / p.sum())


def _agreement(model_dir: str, int8_dir: str, batches: List[Batch]) -> float:
    """Run both programs; the share of equal labels.

    Raises:
        UserError: the quantized program does not run here.
    """
    try:
        engine = Predictor(int8_dir, EngineOptions(precision="int8"))
        after = np.concatenate([engine.run(*batch).argmax(axis=1) for batch in batches])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"the int8 program does not run here ({reason}): nothing written") from None
    reference = Predictor(model_dir, EngineOptions())
    before = np.concatenate([reference.run(*batch).argmax(axis=1) for batch in batches])
    return float((before == after).mean())
