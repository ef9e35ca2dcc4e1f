"""Export of a trained classifier to a static program, which is compared with the model first."""

import os

import numpy as np
import paddle
from paddle import nn

from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.inference.engines import INPUTS, EngineOptions, open_engine
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory

TOLERANCE = 1e-5
# (batch, length): one token, odd and even lengths around the kernel size, long rows, batches.
CHECK_SHAPES = ((1, 1), (1, 8), (2, 9), (3, 17), (8, 32), (1, 128), (2, 512))


class _Program(nn.Layer):
    """Two named inputs and the logits. Tracing this wrapper leaves the model in dygraph mode."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, token_type_ids):
        return self.model(input_ids, token_type_ids)


def save_program(model, prefix: str) -> None:
    """Trace ``model`` with dynamic batch and length; write ``prefix``.pdmodel (.json on 3.x)."""
    spec = [paddle.static.InputSpec([None, None], "int64", name) for name in INPUTS]
    program = paddle.jit.to_static(_Program(model), input_spec=spec, full_graph=True)
    program.eval()
    paddle.jit.save(program, prefix)


def export_checkpoint(checkpoint_dir: str, export_dir: str) -> list[tuple[str, str, float]]:
    """Export a checkpoint and compare the program with the original model.

    The directory is written atomically, and only if the check passed.

    Returns:
        One row per engine and shape: engine name, shape, largest absolute difference of the logits.

    Raises:
        UserError: the checkpoint cannot be used, the directory cannot be written or contains other
            files, or the program's logits differ from the model's by more than 1e-5.
    """
    model, processor = load_classifier(checkpoint_dir)
    with product_directory(export_dir, "exported model", [checkpoint_dir]) as work:
        save_program(model, os.path.join(work, "inference"))
        processor.tokenizer.save_pretrained(work)
        model.save_config(str(work))
        return compare_with_model(model, str(work))


def compare_with_model(model, export_dir: str) -> list[tuple[str, str, float]]:
    """Compare an exported directory, plain and under oneDNN, with ``model`` at several shapes.

    Raises:
        UserError: a difference is above 1e-5.
    """
    batches = _batches(model.config)
    expected = [dygraph_runner(model)(*batch) for batch in batches]
    rows = []
    for name, use_mkldnn in (("plain", False), ("oneDNN", True)):
        engine = open_engine(export_dir, EngineOptions(use_mkldnn=use_mkldnn))
        for batch, logits in zip(batches, expected):
            difference = np.abs(engine.run(*batch) - logits).max()
            rows.append((name, "{} x {}".format(*batch[0].shape), float(difference)))
    name, shape, worst = max(rows, key=lambda row: row[2])
    if not worst <= TOLERANCE:  # also catches nan
        raise UserError(
            "outputs-differ",
            f"the exported program ({name}, {shape}) differs from the model by {worst:.1e}, more "
            f"than {TOLERANCE:.0e}: nothing was written",
        )
    return rows


def _batches(config) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random ids, half of the last row padded, and types of `CHECK_SHAPES`; [B, L] int64."""
    rng, longest = np.random.RandomState(0), config.max_position_embeddings
    batches = []
    for batch, length in dict.fromkeys((b, min(length, longest)) for b, length in CHECK_SHAPES):
        ids = rng.randint(1, config.vocab_size, (batch, length)).astype(np.int64)
        ids[-1, length // 2 + 1 :] = config.pad_token_id
        types = np.zeros_like(ids)
        types[:, length // 2 :] = 1
        batches.append((ids, types))
    return batches
