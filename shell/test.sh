#!/usr/bin/env bash
# Set up the environments, check style, run the tests on Paddle 2.6.2 and the core tests on 3.3.1.
# Arguments are passed to pytest, which then runs in the first environment only:
#   bash shell/test.sh tests/inference/test_export.py
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"

# One process per core, with one thread each; the tests of a file run in the same process.
run_tests() {
    OMP_NUM_THREADS=1 "$1" -m pytest -q -n auto --dist loadfile "${@:2}"
}

# Tests that depend on the version of Paddle; they also run in the second environment.
PADDLE3_TESTS=(
    tests/paddlenlp/test_{checkpoint,cpu_ops,golden,heads,modeling,upstream_forms,weight_names}.py
    tests/training/test_{optimizer,train_step,tasks}.py tests/training/test_train.py::test_a_whole_run
    tests/inference/test_export.py tests/alignment/test_chain.py
)

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv" "$python" requirements.txt requirements-onnx.txt requirements-openvino.txt \
    requirements-visualdl.txt requirements-dev.txt
# Paddle Serving runs on CPython 3.10 to 3.12; on 3.13 its tests are skipped.
if .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    bash shell/serving.sh setup
fi
# For the page of deploy/web_demo; without a browser its tests are skipped with a reason.
make_venv "$ROOT/.venv-demo" "$python" requirements-demo.txt
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromedriver >/dev/null; then
    { apt-get update -qq && apt-get install -yqq chromium chromium-driver fonts-noto-cjk; } >/dev/null ||
        echo "chromium was not installed: the browser tests are skipped" >&2
fi
if [ "$#" -gt 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi

echo "== style"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
git ls-files '*.sh' .ci/run | xargs .venv/bin/shellcheck -x
git ls-files '*Dockerfile' | xargs .venv/bin/hadolint

make_venv "$ROOT/.venv-paddle3" "$python" requirements-paddle3.txt requirements-dev.txt
echo "== tests on Paddle 3.3.1"
run_tests .venv-paddle3/bin/python "${PADDLE3_TESTS[@]}"
echo "== tests on $(.venv/bin/python -c 'import paddle; print("Paddle", paddle.__version__)' 2>/dev/null)"
run_tests .venv/bin/python
