"""Comparison with an independent implementation; see README.md."""
