#!/usr/bin/env bash
# Set up the environments, check style, run the tests on Paddle 2.6.2 and the core tests on 3.3.1.
# Arguments are passed to pytest, which then runs in the first environment only:
#   bash shell/test.sh tests/inference/test_export.py
set -euo pipefail
[ "${1:-}" != --help ] || { sed -n '2,/^set/s/^# //p' "$0"; exit; }
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"

# Run pytest on test files or folders: a process for every COUNT of them, as many at once as there are
# cores, with one thread each. The output of a process is printed when it ends.
# Not pytest-xdist: twice one of its workers ended without a message, and the run hung.
run_tests() { # PYTHON, COUNT, then files or folders
    # shellcheck disable=SC2016  # the inner shell expands these
    printf '%s\n' "${@:3}" | OMP_NUM_THREADS=1 xargs -P "$(nproc)" -n "$2" bash -c '
        status=0
        log="$("$0" -m pytest -q "$@" 2>&1)" || status=$?
        printf "%s\n%s\n" "-- $*" "$log"
        exit "$status"' "$1" || { echo "some tests failed: see above" >&2; exit 1; }
}

# Tests that depend on the version of Paddle; they also run in the second environment.
PADDLE3_TESTS=(
    tests/paddlenlp/test_{checkpoint,cpu_ops,golden,heads,modeling,upstream_forms,weight_names}.py
    tests/training/test_{optimizer,train_step,tasks}.py tests/training/test_train.py::test_a_whole_run
    tests/inference/test_export.py tests/alignment/test_chain.py
)

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv" "$python" requirements.txt requirements-onnx.txt requirements-openvino.txt \
    requirements-visualdl.txt requirements-ray.txt requirements-dev.txt
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
run_tests .venv-paddle3/bin/python 7 "${PADDLE3_TESTS[@]}"
echo "== tests on $(.venv/bin/python -c 'import paddle; print("Paddle", paddle.__version__)' 2>/dev/null)"
mapfile -t folders < <(find tests -name 'test_*.py' -printf '%h\n' | sort -ur)
run_tests .venv/bin/python 1 "${folders[@]}"
