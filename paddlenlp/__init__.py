"""The slim library of ConvBERT-Prod, under upstream's import names.

Nothing is imported here: import ``paddlenlp.transformers``, ``.data``, ``.datasets``, ``.metrics``
or ``.utils`` as needed. The tokenizer does not import Paddle.
"""

# Paddle's library contains its own zlib. If Python's zlib is loaded after it, the symbols of the
# two are mixed and the process crashes, for example at ``import sklearn``. So load it first.
import zlib  # noqa: F401

__version__ = "1.0.0"
