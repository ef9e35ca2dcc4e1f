"""The slim library of ConvBERT-Prod, under upstream's import names.

None of its parts is imported here: ``paddlenlp.transformers``, ``.data``, ``.datasets``,
``.metrics`` and ``.utils`` are loaded when they are asked for, so that a tokenizer never pulls in
Paddle.
"""

# Paddle's library brings a zlib of its own. When Python's zlib is loaded after it, the two mix and
# the process crashes, for example at ``import sklearn``. Loaded before, each keeps its own.
import zlib  # noqa: F401

__version__ = "1.0.0"
