"""The container files name what exists: no container engine or cluster runs here."""

import pytest

pytest.importorskip("grpc", reason="serving is not installed: bash shell/serving.sh setup")

import yaml

from convbert.serving import served_model
from deploy.serving_python import web_service
from tests.helpers.serving import SERVING

CONTAINER = SERVING / "container"


def test_kubernetes_uses_flags_and_paths_that_exist():
    documents = list(yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text()))
    kinds = [document["kind"] for document in documents]
    assert kinds == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    (container,) = documents[0]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    settings = web_service.read_settings(web_service.parse_args(container["args"]))
    assert settings.http == ("0.0.0.0", container["ports"][0]["containerPort"])


def test_the_bundled_model_is_served_only_where_no_other_is_named(tmp_path, monkeypatch):
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
