"""`tools/score.py` on a Ray cluster of two nodes on this machine."""

import os
import subprocess
import sys

import psutil
import pytest

pytest.importorskip("ray")

from tests.helpers.waiting import wait_while_running

ROWS, ROWS_PER_PART = 12000, 100
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture(name="cluster")
def _cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        cluster.add_node(**NODE)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.shutdown()


def test_neither_a_killed_worker_nor_a_killed_node_loses_or_repeats_a_row(
    cluster, repo_root, run_script, tiny_export, tmp_path
):
    table, out = tmp_path / "in.tsv", tmp_path / "out.tsv"
    texts = ("good film", "a bad story", "dull", "not a great film", "fine")
    lines = [f"{number}\t{texts[number % len(texts)]} {number}" for number in range(ROWS)]
    table.write_text("\n".join(["number\tsentence", *lines]) + "\n")
    common = ["--model_dir", tiny_export, "--input_file", table, "--cpu_threads", 1]
    common += ["--rows_per_part", ROWS_PER_PART]
    alone = run_script("tools/score.py", *common, "--output_file", tmp_path / "alone.tsv")
    assert alone.returncode == 0, alone.stderr

    on_ray = ["--output_file", out, "--engine_cluster", "ray", "--ray_workers", 2]
    command = [sys.executable, repo_root / "tools" / "score.py", *common, *on_ray]
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=os.environ)
    try:
        wait_while_running(lambda: answered(out), job)
        worker = next(p for p in psutil.process_iter(["cmdline"]) if is_worker(p))
        worker.kill()
        before = answered(out)
        wait_while_running(lambda: answered(out) > before, job)
        (other,) = cluster.worker_nodes
        cluster.remove_node(other, allow_graceful=False)
        cluster.add_node(**NODE)  # a worker needs a core
        assert not out.exists()  # both deaths were in the middle
        assert job.wait(300) == 0, (tmp_path / "log").read_text()
    finally:
        job.kill()
        job.wait()
    assert out.read_bytes() == (tmp_path / "alone.tsv").read_bytes()


def answered(out):
    """The number of answered parts."""
    return len(list(out.with_name(out.name + ".parts").glob("0*")))


def is_worker(process):
    """Whether a process is an engine of the job."""
    return any("ray::" in part and "_Worker" in part for part in process.info["cmdline"] or ())
