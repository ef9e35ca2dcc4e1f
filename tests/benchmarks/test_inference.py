"""The inference benchmark: sides in turns, wrong answers, and the tables made from a result."""

import json
import sys

import numpy as np
import pytest

from benchmarks import bench_sides, report_inference
from benchmarks.sides import Side
from convbert.command.provenance import FEATURES, describe, provenance
from tests.helpers.errors import raises_code

ECHO = """
import sys
sys.path.insert(0, sys.argv[1])
from benchmarks.sides import answer_batches
def run(ids):
    print("noise of a library")
    return ids * 2.0
answer_batches(run, "numpy")
"""


def test_a_side_answers_in_a_process_of_its_own(repo_root):
    with Side([sys.executable, "-c", ECHO, repo_root]) as side:
        assert side.versions == {"numpy": np.__version__}
        answer = side.ask(batches=[[[1, 2]], [[3, 4]]])
        assert answer["logits"] == [[6.0, 8.0]]
        assert len(answer["ms"]) == 2
        assert 0 < answer["resident_mb"] <= answer["peak_mb"]


def test_a_side_that_ends_is_an_error():
    with raises_code("step-failed", "status 3"):
        Side([sys.executable, "-c", "raise SystemExit(3)"])


class FakeSide:
    """Answers every batch with the same logits and times that grow with each request."""

    def __init__(self, logits):
        self.logits, self.requests = logits, 0

    def ask(self, batches):
        self.requests += 1
        return {"logits": self.logits, "ms": [self.requests] * len(batches)}


def test_sides_take_turns_and_warm_up_first():
    sides = {"torch": FakeSide([[1.0]]), "paddle": FakeSide([[1.0 + 1e-7]])}
    sides["openvino_int8"] = FakeSide([[1.1]])  # is not held to the tolerance
    row = bench_sides.latency(sides, (1, 4), rounds=3, words=10)
    # Request 1 compares, request 2 is the round that is not counted.
    assert row["ms"] == {"torch": 4, "paddle": 4, "openvino_int8": 4}
    assert row["range_ms"]["paddle"] == [3, 5]


@pytest.mark.parametrize("logits", [[[1.1]], [[float("nan")]]])
def test_a_wrong_answer_stops_the_benchmark(logits):
    sides = {"torch": FakeSide([[1.0]]), "paddle": FakeSide(logits)}
    with raises_code("outputs-differ", "paddle"):
        bench_sides.latency(sides, (1, 4), rounds=1, words=10)


def test_a_bound_is_reached_or_not():
    ms = {"torch": 100.0, "paddle": 60.0, "openvino": 40.0, "onnxruntime": 30.0}
    ms.update(openvino_bf16=25.0, openvino_int8=20.0)
    differences = {"openvino": 2e-7, "openvino_bf16": 0.01, "openvino_int8": 0.1}
    rows = [
        {"shape": [1, 32], "ms": ms, "difference": differences},
        {"shape": [8, 32], "ms": {**ms, "torch": 50.0}, "difference": differences},
    ]
    first, second = report_inference.ratios(rows).splitlines()[2:]
    assert first == "| 1 x 32 | 2.50 | **0.75** | 2.0 reached | 4.00 | 5.00 | 4.0 reached | 2e-07 |"
    missed = "1.35 **not reached** | 2.00 | 2.50 | 3.5 **not reached** | 2e-07 |"
    assert second == f"| 8 x 32 | 1.25 | **0.75** | {missed}"


@pytest.mark.parametrize("name", ["README.md", "README_cn.md"])
def test_readme_shows_the_recorded_table(repo_root, name):
    record = repo_root / "benchmarks" / "results" / "inference-convbert-base.json"
    readme = (repo_root / name).read_text(encoding="utf-8")
    assert readme == report_inference.with_table(readme, json.loads(record.read_text()))


def test_a_record_names_what_it_depends_on():
    record = provenance(paddle="2.6.2")
    assert record["versions"]["paddle"] == "2.6.2"
    assert set(record["features"]) == set(FEATURES)
    record["features"] = {"AVX2": True, "VNNI": False}
    assert "(AVX2, no VNNI)" in describe(record)


def test_batches_of_a_file_are_those_of_infer():
    batches, _ = bench_sides.make_batches(sentences=100, batch_size=16)
    assert sum(map(len, batches)) == 100
    for batch in batches:
        ids = np.array(batch)
        assert ids.shape[1] % 8 == 0
        assert (ids[:, 0] != 0).all()
