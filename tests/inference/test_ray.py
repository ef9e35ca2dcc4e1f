"""What runs on a Ray cluster, each piece without one: reading, a worker, and putting together."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

from convbert.inference.engines import EngineOptions
from convbert.inference.score import ScorerSettings
from convbert.inference.score_files import open_score_file
from convbert.text.reading import Row
from tests.helpers.errors import raises_code

pytest.importorskip("ray")
from convbert.inference import ray_cluster

ROWS = ["good film", "a bad story", "dull", "not a great film", "fine"]


@pytest.fixture(name="source")
def _source(tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("\n".join(["text", *ROWS]))
    return ray_cluster.Source(str(path), ("text",), "predicted_", 2)


def chunks_of(source):
    """The chunks as the caller reads them."""
    file = open_score_file(source.path, source.columns, source.prefix)
    return list(file.chunks(source.chunk_rows))


def test_every_block_is_a_chunk_that_is_not_done(source):
    chunks = chunks_of(source)
    blocks = [block.to_pylist() for block in source.blocks()]
    assert [row["name"] for (row,) in blocks] == [chunk.name for chunk in chunks]
    assert [pickle.loads(row["rows"]) for (row,) in blocks] == [chunk.rows for chunk in chunks]
    rest = replace(source, done=frozenset([chunks[1].name]))
    assert [block["name"][0].as_py() for block in rest.blocks()] == [
        chunks[0].name,
        chunks[2].name,
    ]


@pytest.fixture(name="worker")
def _worker(tiny_export):
    return ray_cluster._Worker(ScorerSettings(str(tiny_export), EngineOptions(cpu_threads=1)))


def test_a_worker_and_the_caller_give_each_chunk_its_answers(monkeypatch, source, worker):
    chunks = chunks_of(source)
    batches = [block.to_pydict() for block in source.blocks()]
    answered = [{key: column[0] for key, column in worker(batch).items()} for batch in batches]
    data = SimpleNamespace(iter_rows=lambda: iter(answered))
    monkeypatch.setattr(ray_cluster, "_data_set", lambda *_: data)
    found = list(ray_cluster.answer_on_ray(source, None, 1, iter(chunks)))
    assert [chunk.name for chunk, _ in found] == [chunk.name for chunk in chunks]
    assert [len(answers) for _, answers in found] == [2, 2, 1]
    alone = worker._scorer([row for chunk in chunks for row in chunk.rows])
    together = [answer for _, answers in found for answer in answers]
    assert [answer.label_id for answer in together] == [answer.label_id for answer in alone]
    with raises_code("engine", chunks[0].name):
        list(ray_cluster.answer_on_ray(source, None, 1, iter([*chunks, chunks[0]])))


def test_an_error_of_a_worker_is_the_error_of_the_job(monkeypatch, source, worker):
    rows = pickle.dumps([Row("\u200b", where="in.tsv, line 3")])
    answer = {key: column[0] for key, column in worker({"name": ["x"], "rows": [rows]}).items()}
    data = SimpleNamespace(iter_rows=lambda: iter([answer]))
    monkeypatch.setattr(ray_cluster, "_data_set", lambda *_: data)
    with raises_code("text", "in.tsv, line 3"):
        list(ray_cluster.answer_on_ray(source, None, 1, iter(chunks_of(source))))
