"""From texts to features, from logits to answers.

``processing``  texts to token ids, logits to labels; shared by training, inference and serving
``reading``     files of texts and true labels: lines, CSV, TSV, JSON lines, Parquet
"""
