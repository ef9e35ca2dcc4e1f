"""The slim library of ConvBERT-Prod, under upstream's import names.

Nothing is imported here: ``paddlenlp.transformers``, ``.data``, ``.datasets``, ``.metrics`` and
``.utils`` are loaded when they are asked for, so that a tokenizer never pulls in Paddle.
"""

__version__ = "1.0.0"
