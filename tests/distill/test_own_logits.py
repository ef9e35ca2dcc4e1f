"""The logits of a checkpoint as teacher: those of the model, for each text of the table."""

import numpy as np
import pytest

from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.training.tasks import TASKS
from convbert.training.teacher import read_teacher_logits
from distill import own_logits
from tests.helpers.errors import raises_code

TEXTS = ["a good film", "bad", "not a great story , but fine"]


@pytest.fixture(name="flags")
def _flags(tiny_checkpoint, tmp_path):
    table = tmp_path / "texts.csv"
    table.write_text("\n".join(["sentence,id", *(f'"{text}",1' for text in TEXTS)]))
    files = {"model_path": tiny_checkpoint, "input_file": table, "output_file": tmp_path / "l.npz"}
    return [f"--{name}={path}" for name, path in files.items()]


def test_the_file_has_the_logits_of_the_model(flags, tiny_checkpoint, tmp_path):
    own_logits.main([*flags, "--batch_size=2"])
    found = read_teacher_logits(str(tmp_path / "l.npz"), TEXTS, TASKS["sst-2"])
    model, processor = load_classifier(str(tiny_checkpoint))
    expected = dygraph_runner(model)(*processor.collate(processor.encode(TEXTS)))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_column_that_the_table_does_not_have(flags):
    with raises_code("column", "'review'"):
        own_logits.main([*flags, "--text_column=review"])
