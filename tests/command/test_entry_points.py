"""Every entry script runs this checkout's packages, from anywhere, and explains its flags."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT
from tests.helpers.errors import assert_refused
from tests.helpers.files import write_below

# Started by other scripts, in the environment of the reference.
WORKERS = {"alignment/reference.py", "benchmarks/peers.py"}
# Every script that a user starts with Python.
SCRIPTS = sorted(
    str(path.relative_to(REPO_ROOT))
    for pattern in ("*.py", "tools/*.py", "deploy/*/*.py", "test_tipc/*.py", "alignment/*.py")
    for path in REPO_ROOT.glob(pattern)
    if "__main__" in path.read_text(encoding="utf-8")
    and str(path.relative_to(REPO_ROOT)) not in WORKERS
)
RPC_CLIENT = "deploy/serving_python/pipeline_rpc_client.py"
REPORT_ORIGIN = """
import atexit, sys
def report():
    module = sys.modules.get("paddlenlp")
    print("paddlenlp from", module and module.__file__, file=sys.stderr)
atexit.register(report)
"""


def test_the_scripts_are_found():
    assert {"train.py", "tools/predict.py", "deploy/inference_python/infer.py"} <= set(SCRIPTS)


@pytest.fixture
def rival(tmp_path):
    """A directory like site-packages with another paddlenlp, and a hook that reports which won."""
    package = tmp_path / "rival" / "paddlenlp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the rival paddlenlp was imported')\n")
    (tmp_path / "rival" / "sitecustomize.py").write_text(REPORT_ORIGIN)
    return tmp_path / "rival"


@pytest.mark.parametrize("script", SCRIPTS)
def test_own_paddlenlp_wins_from_any_directory(run_script, repo_root, rival, script):
    # The rival also lies in the working directory, as in a checkout of PaddleNLP.
    run = run_script(script, "--help", cwd=rival, env={"PYTHONPATH": str(rival)})
    assert run.returncode == 0, run.stderr
    assert f"paddlenlp from {repo_root / 'paddlenlp' / '__init__.py'}" in run.stderr
    assert run.stdout.startswith("usage: ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_flag_is_one_line(call_script, script):
    run = call_script(script, "--no_such_flag")
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "no_such_flag" in run.stderr or "required" in run.stderr


def test_every_script_has_the_common_start(repo_root):
    """`run_main` handles errors and signals in all of them."""
    others = [*repo_root.glob("benchmarks/**/*.py"), *repo_root.glob("distill/*.py")]
    scripts = {str(path.relative_to(repo_root)) for path in others} | set(SCRIPTS)
    texts = {script: (repo_root / script).read_text(encoding="utf-8") for script in scripts}
    entries = [script for script in scripts - WORKERS if "__main__" in texts[script]]
    assert [script for script in entries if "    run_main(main)\n" not in texts[script]] == []


def test_every_flag_of_serving_is_documented_in_both_languages(call_script, repo_root):
    folder = repo_root / "deploy" / "serving_python"
    pages = [(folder / name).read_text(encoding="utf-8") for name in ("README.md", "README_cn.md")]
    scripts = [name for name in SCRIPTS if "serving" in name]
    assert len(scripts) == 5
    flags = {
        flag
        for script in scripts
        for flag in re.findall(r"--\w+", call_script(script, "--help").stdout.split("options:")[-1])
    }
    missing = [f for f in sorted(flags - {"--help"}) if any(f"`{f}" not in page for page in pages)]
    assert not missing


def test_a_client_without_its_packages_is_one_line(run_script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['grpc'] = None\n")
    run = run_script(RPC_CLIENT, env={"PYTHONPATH": str(tmp_path)})
    assert_refused(run, "package-missing", "grpc")


@pytest.mark.parametrize("where", ["PYTHON", ".venv"])
def test_setting_up_serving_on_a_python_without_it_is_one_line(repo_root, tmp_path, where):
    for pattern in ("requirements*.txt", "shell/*serving*.sh", "shell/_env.sh"):
        for path in repo_root.glob(pattern):
            write_below(tmp_path, path.relative_to(repo_root), path.read_text())
    versions = {"PYTHON": "3.11", ".venv": "3.11", where: "3.13"}
    for name, version in versions.items():
        write_below(tmp_path, f"{name}/bin/python", f"#!/bin/sh\necho {version}\n")
    done = subprocess.run(
        ["bash", str(tmp_path / "shell" / "serving.sh"), "setup"],
        env={**os.environ, "PYTHON": str(tmp_path / "PYTHON" / "bin" / "python")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert where in done.stderr
    assert "3.13" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_imports_are_light_and_make_no_files(repo_root, tmp_path):
    code = (
        "import sys, convbert.text.processing, paddlenlp.datasets, paddlenlp.metrics\n"
        "import paddlenlp.data, paddlenlp.transformers.convbert.tokenizer\n"
        "sys.exit(bool({'paddle', 'sklearn', 'scipy', 'requests'} & set(sys.modules)))"
    )
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=str(repo_root), env=env)
    assert done.returncode == 0
    assert not (tmp_path / ".paddlenlp").exists()
