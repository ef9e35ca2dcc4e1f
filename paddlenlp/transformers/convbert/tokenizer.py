"""ConvBERT's tokenizer: BERT's WordPiece with the uncased vocabulary."""

from paddlenlp.transformers.tokenizer_utils import WordPieceTokenizer


class ConvBertTokenizer(WordPieceTokenizer):
    """Gives the ids of the published ConvBERT models. See `WordPieceTokenizer` for the calls."""
