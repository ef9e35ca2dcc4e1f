"""Opening an exported model: the engine that runs it and its text processor, checked together."""

from __future__ import annotations

import os

import numpy as np

from convbert.inference.engines import Engine, EngineOptions, open_engine
from convbert.inference.engines.openvino import MODEL_FILES
from convbert.inference.finite import check_finite
from convbert.inference.program import ProgramInfo, find_programs, read_program
from convbert.text.processing import PAD_MULTIPLE, TextProcessor
from paddlenlp.transformers.checkpoint import CONFIG_FILE
from paddlenlp.transformers.tokenizer_settings import CONFIG_FILE as TOKENIZER_CONFIG_FILE
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import verify


def open_exported(
    model_dir: str, options: EngineOptions | None = None, max_seq_len: int | None = None
) -> tuple[Engine, TextProcessor]:
    """Open a directory written by ``tools/export_model.py`` or ``tools/quantize_model.py``.

    The counterpart of `dygraph.load_classifier`.

    Args:
        model_dir: the directory.
        options: engine, device, threads, precision; None: Paddle Inference on the CPU.
        max_seq_len: longest sequence in tokens; None: 128, or less if the model allows less.

    Raises:
        UserError: files are missing, damaged or do not fit together, weights are not finite, or the
            engine cannot run the model.
    """
    digests = check_files(model_dir)
    if options and options.onnx_file and os.path.isfile(options.onnx_file):
        check_finite(options.onnx_file, ".onnx")
    engine = open_engine(model_dir, options, digests)
    processor = open_processor(model_dir, max_seq_len)
    ids = np.array([[processor.tokenizer.unk_token_id] * 3], dtype=np.int64)
    if not np.isfinite(engine.run(ids, np.zeros_like(ids))).all():
        raise UserError(
            "not-finite", f"the model in '{model_dir}' returns NaN or infinity: export it again"
        )
    return engine, processor


def check_files(model_dir: str) -> dict[str, str]:
    """Check the files of an exported directory before an engine reads them.

    Returns:
        The SHA-256 of each file by its name; nothing without a manifest.

    Raises:
        UserError: a file differs from the manifest, or weights are not finite.
    """
    digests = verify(model_dir) if os.path.isdir(model_dir) else {}
    for _, weights in MODEL_FILES:
        path = os.path.join(model_dir, weights)
        if os.path.isfile(path):
            check_finite(path)
    return digests


def open_processor(model_dir: str, max_seq_len: int | None = None) -> TextProcessor:
    """Open the text processor of an exported or served directory.

    Args:
        model_dir: the directory.
        max_seq_len: as in `open_exported`.

    Raises:
        UserError: files are missing or damaged, or do not fit together.
    """
    # It contains the label names.
    if not os.path.isfile(os.path.join(model_dir, TOKENIZER_CONFIG_FILE)):
        raise UserError(
            "export",
            f"{TOKENIZER_CONFIG_FILE} is missing in exported model '{model_dir}': export it again",
        )
    processor = TextProcessor.from_dir(model_dir, max_seq_len, PAD_MULTIPLE)
    if os.path.isfile(os.path.join(model_dir, CONFIG_FILE)):
        return processor
    program = _read_program(model_dir)  # written by another tool
    processor.check_vocabulary(program.vocab_size, model_dir)
    processor.num_classes = max(program.fetches[0].shape[-1:], default=0) or None
    return processor


def _read_program(model_dir: str) -> ProgramInfo:
    programs = find_programs(model_dir)
    if not programs:
        raise UserError(
            "export", f"{CONFIG_FILE} is missing in exported model '{model_dir}': export it again"
        )
    return read_program(programs[0])
