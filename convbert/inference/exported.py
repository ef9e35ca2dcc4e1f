"""Opening an exported model: the engine that runs it and its text processor, checked together."""

import os

import numpy as np

from convbert.inference.engines import (
    PADDLE_ON_CPU,
    Engine,
    EngineOptions,
    find_files,
    not_exported,
    open_engine,
)
from convbert.inference.engines.paddle_inference import PADDLE_FILES
from convbert.inference.program import read_program
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
    ids = np.array([[processor.tokenizer.unk_token_id] * 3], dtype=np.int64)
    if not np.isfinite(engine.run(ids, np.zeros_like(ids))).all():
        raise UserError(
            "not-finite", f"the model in '{model_dir}' returns NaN or infinity: export it again"
        )
    return engine, processor


def open_processor(model_dir: str, max_seq_len: int | None = None) -> TextProcessor:
    """Open the text processor of an exported or served directory; see `open_exported`."""
    # It contains the label names.
    if not os.path.isfile(os.path.join(model_dir, TOKENIZER_CONFIG_FILE)):
        raise not_exported(model_dir, TOKENIZER_CONFIG_FILE)
    processor = TextProcessor.from_dir(model_dir, max_seq_len, PAD_MULTIPLE)
    if not os.path.isfile(os.path.join(model_dir, CONFIG_FILE)):  # written by another tool
        files = find_files(model_dir, PADDLE_FILES)
        if files is None:
            raise not_exported(model_dir, CONFIG_FILE)
        program = read_program(files[0])
        processor.check_vocabulary(program.vocab_size, model_dir)
        classes = program.fetches[0].shape[-1:]
        processor.num_classes = classes[0] if classes and classes[0] > 0 else None
    return processor
