"""Data sets under upstream's names: ``load_dataset("glue", "sst-2", splits="train")``."""

from paddlenlp.datasets.dataset import MapDataset, load_dataset
from paddlenlp.datasets.glue import GLUE_TASKS

__all__ = ["GLUE_TASKS", "MapDataset", "load_dataset"]
