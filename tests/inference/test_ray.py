"""Scoring on a Ray cluster of two nodes: the rows of one machine, also when a node dies."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from convbert.inference.engines.options import EngineOptions
from convbert.inference.exported import open_exported
from convbert.inference.score import ScorerSettings, score
from convbert.inference.score_files import open_score_file
from tests.helpers.errors import raises_code

ray = pytest.importorskip("ray")
pytest.importorskip("openvino")
pytestmark = pytest.mark.slow

STORE = {"object_store_memory": 100 << 20}
CHUNK_ROWS = 20


@pytest.fixture(scope="module", name="cluster")
def _cluster():
    from ray.cluster_utils import Cluster

    from convbert.inference.ray_cluster import connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **STORE})
        patch.setenv("RAY_ADDRESS", cluster.address)
        connect()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def run_job(tiny_export, folder: Path, rows: list[str], between=lambda number: None):
    """Score rows with two engines of two CPUs each; ``between`` is called after every chunk."""
    from convbert.inference.ray_cluster import Source, answer_on_ray

    path, parts = folder / "in.tsv", folder / "parts"
    path.write_text("\n".join(["id\ttext", *rows]))
    parts.mkdir(exist_ok=True)
    options = EngineOptions(engine="openvino", cpu_threads=2)
    source = Source(str(path), ("text",), "predicted_", CHUNK_ROWS, frozenset(os.listdir(parts)))
    answer = partial(answer_on_ray, source, ScorerSettings(str(tiny_export), options), 2)

    def watched(chunks):
        for number, answered in enumerate(answer(chunks)):
            yield answered
            between(number)

    file = open_score_file(str(path), ["text"], "predicted_")
    progress = score(file, watched, parts, str(folder / "out.tsv"), CHUNK_ROWS)
    return progress, (folder / "out.tsv").read_text().splitlines()[1:]


def test_a_node_dies_in_the_middle(cluster, tiny_export, tmp_path):
    words = ("good", "bad", "dull", "fine", "not a great film")
    rows = [f"{n}\tthe {words[n % 5]} {words[n % 3]} story" for n in range(60 * CHUNK_ROWS)]
    node = cluster.add_node(num_cpus=2, **STORE)

    def between(number: int) -> None:
        if number == 5:
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=2, **STORE)

    progress, found = run_job(tiny_export, tmp_path, rows, between)
    assert (progress.rows, progress.earlier) == (len(rows), 0)
    assert [line.rsplit("\t", 3)[0] for line in found] == rows
    engine, processor = open_exported(str(tiny_export))
    for line in found[::100]:
        _, text, label_id, label, prob = line.split("\t")
        expected = processor.decode(engine.run(*processor.collate(processor.encode([text]))))[0]
        assert (int(label_id), label) == (expected.label_id, expected.label)
        assert float(prob) == pytest.approx(expected.prob, abs=1e-4)


def test_an_error_of_a_worker_is_the_error_of_the_job(cluster, tiny_export, tmp_path):
    cluster.add_node(num_cpus=2, **STORE)
    rows = [*(f"{n}\tgood film" for n in range(CHUNK_ROWS)), "x\t\u200b", "y\tbad"]
    with raises_code("text", "in.tsv, line 22"):
        run_job(tiny_export, tmp_path, rows)
    assert not (tmp_path / "out.tsv").exists()
    rows[-2] = "x\tfine"
    progress, found = run_job(tiny_export, tmp_path, rows)
    assert (progress.rows, progress.earlier) == (len(rows), CHUNK_ROWS)
    assert [line.rsplit("\t", 3)[0] for line in found] == rows
