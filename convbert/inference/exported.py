"""Opening an exported model: the engine that runs it and its text processor, checked together."""

import os

import numpy as np

from convbert.inference.engines import (
    PADDLE_ON_CPU,
    Engine,
    EngineOptions,
    not_exported,
    open_engine,
)
from convbert.text.processing import PAD_MULTIPLE, TextProcessor
from paddlenlp.transformers.checkpoint import CONFIG_FILE
from paddlenlp.transformers.tokenizer_settings import CONFIG_FILE as TOKENIZER_CONFIG_FILE
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import verify


def open_exported(
    model_dir: str, options: EngineOptions = PADDLE_ON_CPU, max_seq_len: int | None = None
) -> tuple[Engine, TextProcessor]:
    """Open a directory written by ``tools/export_model.py`` or ``tools/quantize_model.py``.

    The counterpart of `dygraph.load_classifier`.

    Args:
        model_dir: the directory.
        options: engine, device, threads, precision.
        max_seq_len: longest sequence in tokens; None: 128, or less if the model allows less.

    Raises:
        UserError: files are missing, damaged or do not fit together, weights are not finite, or the
            engine cannot run the model.
    """
    digests = verify(model_dir) if os.path.isdir(model_dir) else {}
    engine = open_engine(model_dir, options, digests)
    processor = open_processor(model_dir, max_seq_len)
    logits = _run_token(engine, processor.tokenizer.unk_token_id)
    if not np.isfinite(logits).all():
        raise UserError(
            "not-finite", f"the model in '{model_dir}' returns NaN or infinity: export it again"
        )
    if not os.path.isfile(os.path.join(model_dir, CONFIG_FILE)):  # written by another tool
        processor.num_classes = logits.shape[1]
        _check_rows(engine, processor, model_dir)
    return engine, processor


def _run_token(engine: Engine, token_id: int) -> np.ndarray:
    ids = np.full((1, 3), token_id, dtype=np.int64)
    return engine.run(ids, np.zeros_like(ids))


def _check_rows(engine: Engine, processor: TextProcessor, model_dir: str) -> None:
    """Check that the embedding table of a model without configuration has a row for each word."""
    if engine.options.engine == "openvino":
        raise UserError(
            "export",
            f"'{model_dir}' has no {CONFIG_FILE}, and OpenVINO does not check token ids: export it "
            "with tools/export_model.py, or use engine paddle",
        )
    words = processor.tokenizer.vocab_size
    try:
        _run_token(engine, words - 1)
    except Exception:  # both other engines check the ids, with different types of errors
        raise UserError(
            "vocabulary",
            f"the vocabulary of '{model_dir}' has {words} words, more than its model: use the "
            "vocab.txt that belongs to it",
        ) from None


def open_processor(model_dir: str, max_seq_len: int | None = None) -> TextProcessor:
    """Open the text processor of an exported or served directory; see `open_exported`."""
    if not os.path.isdir(model_dir):
        raise UserError("file-missing", f"'{model_dir}' is not a directory: correct the path")
    # It contains the label names.
    if not os.path.isfile(os.path.join(model_dir, TOKENIZER_CONFIG_FILE)):
        raise not_exported(model_dir, TOKENIZER_CONFIG_FILE)
    return TextProcessor.from_dir(model_dir, max_seq_len, PAD_MULTIPLE)
