"""The container files name what exists: no container engine or cluster runs here."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import yaml

from tests.helpers.serving import SERVING

CONTAINER = SERVING / "container"
READ_SETTINGS = """
import json, sys
import web_service
settings = web_service.read_settings(web_service.parse_args(json.loads(sys.argv[1])))
print(json.dumps([settings.http.port, settings.http.host]))
"""


def test_kubernetes_uses_flags_and_paths_that_exist():
    documents = list(yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text()))
    kinds = [document["kind"] for document in documents]
    assert kinds == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    (container,) = documents[0]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    done = subprocess.run(
        [sys.executable, "-c", READ_SETTINGS, json.dumps(container["args"])],
        cwd=str(SERVING),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [container["ports"][0]["containerPort"], "0.0.0.0"]


def test_the_bundled_model_is_served_only_where_no_other_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SERVING))
    import web_service

    from convbert.serving import served_model

    config = tmp_path / "config.yml"
    config.write_text((SERVING / "config.yml").read_text())
    monkeypatch.setattr(web_service, "CONFIG", str(config))
    monkeypatch.setattr(served_model, "default_served", lambda: "bundled")

    def served(*flags: str) -> str:
        return web_service.read_settings(web_service.parse_args(flags)).model_dir

    assert served() == "bundled"
    assert served("--model_dir", "mine").endswith("mine")
    assert served("--config", str(SERVING / "config.yml")).endswith("convbert_server")
    (tmp_path / "convbert_server").mkdir()
    assert served() == str(tmp_path / "convbert_server")


def test_the_dockerfile_copies_what_exists(repo_root):
    text = (CONTAINER / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert list(repo_root.glob(source)), source
