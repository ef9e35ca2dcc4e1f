"""The application layer of ConvBERT-Prod: what the entry scripts share, built on ``paddlenlp``."""
