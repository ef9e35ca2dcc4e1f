"""Every failure of docs/troubleshooting.md, reproduced; its code is the one that the page shows."""

import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import REPO_ROOT
from tests.docs.markdown import read_blocks
from tests.helpers.errors import assert_refused

PAGES = [REPO_ROOT / "docs" / f"troubleshooting{language}.md" for language in ("", "_cn")]
SERVING = "deploy/serving_python"
INFER = "deploy/inference_python/infer.py"
ADDRESS_SPACE_KB = 3_000_000
needs_serving = pytest.mark.skipif(
    not all(map(find_spec, ("grpc", "paddle_serving_server"))),
    reason="needs shell/serving.sh setup",
)


def shown(number: int) -> str:
    """The code that the page shows in its section of this number."""
    found = re.search(r"\[([\w-]+)\]$|'err_no': (\d+)", lines()[number - 1])
    return found[1] or found[2]


def lines() -> list[str]:
    """The line of each section."""
    return [block.body.rstrip() for block in read_blocks(PAGES[0]) if block.kind == "text"]


def test_every_section_of_both_pages_has_a_line_and_a_test():
    tests = [name for name in globals() if re.match(r"test_\d+_", name)]
    for page in PAGES:
        numbers = re.findall(r"^## (\d+)\. ", page.read_text(encoding="utf-8"), re.M)
        assert [int(number) for number in numbers] == list(range(1, len(tests) + 1))
    assert len(lines()) == len(tests)


def test_1_no_network(call_script, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    env = {"PPNLP_HUB": "http://127.0.0.1:9", "PPNLP_HOME": str(tmp_path / "cache")}
    done = call_script("train.py", "--max_steps", 1, env=env)
    assert_refused(done, shown(1), "--data_dir")
    assert not (tmp_path / "convbert_base_outputs").exists()


def test_2_wrong_python(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.9\n")
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(REPO_ROOT / "shell" / "quickstart.sh")],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    assert_refused(done, shown(2), "3.9")


def test_3_no_gpu(call_script, tiny_checkpoint):
    flags = ("--model_path", tiny_checkpoint, "--device", "gpu")
    done = call_script("tools/predict.py", *flags, env={"CUDA_VISIBLE_DEVICES": ""})
    assert_refused(done, shown(3), "--device gpu")


@needs_serving
def test_4_port_in_use(run_script, model_dir, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        flags = ("--model_dir", model_dir, "--run_dir", tmp_path / "run", "--port", port)
        done = run_script(f"{SERVING}/web_service.py", *flags, "--quiet")
    assert_refused(done, shown(4), port)


def test_5_out_of_memory(tmp_path):
    """Weights that do not fit into the address space that this process may use."""
    words = [sys.executable, REPO_ROOT / "train.py", "--data_dir", REPO_ROOT / "data" / "reviews"]
    words += ["--vocab_file", REPO_ROOT / "data" / "reviews" / "vocab.txt", "--from_scratch"]
    words += ["--num_hidden_layers", 1, "--intermediate_size", 800_000]
    words += ["--output_dir", tmp_path / "out"]
    limited = f'ulimit -v {ADDRESS_SPACE_KB}; exec "$0" "$@"'
    done = subprocess.run(
        ["bash", "-c", limited, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
    )
    assert_refused(done, shown(5))
    assert not (tmp_path / "out").exists()


def test_6_disk_full(tiny_export, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a fine film\n" * 500)
    words = [sys.executable, REPO_ROOT / INFER, "--model_dir", tiny_export, "--input_file", texts]
    with open("/dev/full", "w") as full:  # every write fails as on a full disk
        done = subprocess.run(
            list(map(str, words)), stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
    assert_refused(done, shown(6), "standard output")


def test_7_wrong_vocabulary(call_script, tiny_checkpoint, tmp_path):
    mixed = tmp_path / "best.pdparams"
    shutil.copytree(tiny_checkpoint, mixed)
    with open(mixed / "vocab.txt", "a") as file:
        file.write("wonderful\nboring\n")
    done = call_script("tools/predict.py", "--model_path", mixed)
    assert_refused(done, shown(7), mixed)


def test_8_paddle_3_model_with_paddle_2(call_script, tiny_export, tmp_path):
    import paddle

    if not paddle.__version__.startswith("2."):
        pytest.skip("Paddle 3 reads it")
    model = tmp_path / "convbert_infer"
    shutil.copytree(tiny_export, model)
    (model / "inference.pdmodel").rename(model / "inference.json")
    assert_refused(call_script(INFER, "--model_dir", model), shown(8), "inference.json")


def test_9_missing_serving_packages(run_script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['grpc'] = None\n")
    done = run_script(f"{SERVING}/web_service.py", env={"PYTHONPATH": str(tmp_path)})
    assert_refused(done, shown(9), "grpc")


@needs_serving
@pytest.mark.slow
def test_10_first_request(run_script, model_dir, tmp_path):
    from tests.helpers.serving import Served

    service = Served(model_dir, tmp_path / "run", flags=("--quiet",))
    with service.foreground():
        service.wait_for("starting")
        assert service.ask("a fine film")[1]["err_no"] == int(shown(10))
        service.wait_for("ready")
        client = (f"{SERVING}/pipeline_http_client.py", "--text", "a fine film")
        done = run_script(*client, "--url", service.url)
    assert done.returncode == 0, done.stderr
