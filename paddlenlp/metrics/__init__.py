"""Evaluation metrics of the GLUE tasks under upstream's names."""

from paddlenlp.metrics.glue import Accuracy, AccuracyAndF1, Mcc, PearsonAndSpearman

__all__ = ["Accuracy", "AccuracyAndF1", "Mcc", "PearsonAndSpearman"]
