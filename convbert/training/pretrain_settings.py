"""The settings of a pretraining run: one dataclass, one field per flag of pretrain.py.

The defaults are ELECTRA-Small's (arXiv 2003.10555, appendix A) where a small machine allows.
Imports no Paddle, so that a mistake in the flags is told at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbert.command.flags import float_in, int_at_least
from convbert.training.settings import HUGE, SIZE_FLAGS, build_parser, flag
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig

REVIEWS = Path(__file__).resolve().parents[1] / "data" / "reviews"


@dataclass(frozen=True)
class PretrainConfig:
    """Every setting of a run."""

    # data
    input_file: str | None = flag(
        None, "UTF-8 text, one sentence a line (default: the embedded reviews)", metavar="FILE"
    )
    vocab_file: str = flag(str(REVIEWS / "vocab.txt"), "WordPiece vocabulary", metavar="FILE")
    max_seq_length: int = flag(
        128, "tokens of a sequence; longer lines are cut into several", type=int_at_least(3)
    )
    mask_probability: float = flag(
        0.15, "share of the words the generator guesses", type=float_in(0.01, 0.5)
    )
    # model
    model_size: str = flag("convbert-small", "size of the discriminator", choices=list(PRESETS))
    num_hidden_layers: int | None = flag(None, "encoder layers", type=int_at_least(1))
    hidden_size: int | None = flag(None, "width of the encoder", type=int_at_least(1))
    num_attention_heads: int | None = flag(
        None, "heads, half of them convolutions", type=int_at_least(1)
    )
    intermediate_size: int | None = flag(
        None, "width of the feed-forward layers", type=int_at_least(1)
    )
    embedding_size: int | None = flag(None, "width of the embeddings", type=int_at_least(1))
    generator_share: int = flag(4, "how many times narrower the generator is", type=int_at_least(1))
    # optimization
    learning_rate: float = flag(5e-4, "highest learning rate", type=float_in(0, HUGE))
    warmup_proportion: float = flag(0.1, "warm-up as a share of all steps", type=float_in(0, 1))
    weight_decay: float = flag(0.01, "decoupled weight decay", type=float_in(0, HUGE))
    max_grad_norm: float = flag(
        1.0, "clip the gradient to this norm; 0: off", type=float_in(0, HUGE)
    )
    batch_size: int = flag(32, "sequences per step", type=int_at_least(1))
    max_steps: int = flag(1000, "optimizer steps of the whole run", type=int_at_least(1))
    # run
    output_dir: str = flag("./pretrain_outputs", "where the results go", metavar="DIR")
    resume: bool = flag(False, "go on where the run in --output_dir was saved last")
    logging_steps: int = flag(20, "steps between two printed lines", type=int_at_least(1))
    save_steps: int = flag(200, "steps between two saved states", type=int_at_least(1))
    seed: int = flag(42, "fixes weights, order, masks, samples, dropout", type=int_at_least(0))
    device: str | None = flag(
        None, "gpu or cpu (default: gpu where Paddle sees one, else cpu)", choices=["gpu", "cpu"]
    )
    cpu_threads: int | None = flag(
        None, "threads (default: the cores at hand)", type=int_at_least(1)
    )

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> PretrainConfig:
        """Read the command line ``argv``.

        Raises:
            UserError: an unknown flag or a bad value.
        """
        description = "Pretrain ConvBERT by replaced-token detection (ELECTRA) on a text file."
        return cls(**vars(build_parser(cls, description).parse_args(argv)))

    def model_config(self, vocab_size: int, pad_token_id: int) -> ConvBertConfig:
        """Return the discriminator's configuration.

        Raises:
            UserError: sizes that do not fit together.
        """
        given = {name: getattr(self, name) for name in SIZE_FLAGS}
        overrides = {name: value for name, value in given.items() if value is not None}
        overrides.update(vocab_size=vocab_size, pad_token_id=pad_token_id)
        return ConvBertConfig.preset(self.model_size, **overrides)

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with its beginning."""
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in RUN_SETTINGS
        }


# What may differ between the beginning of a run and its continuation. The two files may have moved:
# the state knows their content.
RUN_SETTINGS = (
    "input_file",
    "vocab_file",
    "output_dir",
    "resume",
    "logging_steps",
    "save_steps",
    "device",
    "cpu_threads",
)
