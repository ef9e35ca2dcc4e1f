"""ConvBERT's tokenizer: BERT's WordPiece with the uncased vocabulary (paper section 4.1)."""

from __future__ import annotations

from paddlenlp.transformers.tokenizer_utils import WordPieceTokenizer


class ConvBertTokenizer(WordPieceTokenizer):
    """Gives the ids of the published ConvBERT models. See `WordPieceTokenizer` for the calls."""
