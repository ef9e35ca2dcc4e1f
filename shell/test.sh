#!/usr/bin/env bash
# Set up the environments, check style, run the tests on Paddle 2.6.2 and the core of them on 3.3.1.
# Arguments go to pytest and then only the first environment runs: bash shell/test.sh tests/test_export.py
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"

# Runs of the unit tests, the chain and one training in the second environment.
PADDLE3_TESTS=(tests/test_export.py)

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv" "$python" requirements.txt requirements-dev.txt
bash shell/serving.sh setup
if [ "$#" -gt 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi

echo "== style"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
git ls-files '*.sh' .ci/run | xargs .venv/bin/shellcheck -x

make_venv "$ROOT/.venv-paddle3" "$python" requirements-paddle3.txt requirements-dev.txt
echo "== tests on Paddle 3.3.1"
.venv-paddle3/bin/python -m pytest -q "${PADDLE3_TESTS[@]}"
echo "== tests on $(.venv/bin/python -c 'import paddle; print("Paddle", paddle.__version__)' 2>/dev/null)"
.venv/bin/python -m pytest -q
