"""ConvBERT's tokenizer: BERT's WordPiece with the uncased vocabulary."""

from paddlenlp.transformers.tokenizer_utils import WordPieceTokenizer


class ConvBertTokenizer(WordPieceTokenizer):
    """The tokenizer of the published ConvBERT models; see `WordPieceTokenizer`."""
