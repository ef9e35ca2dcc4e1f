#!/usr/bin/env bash
# Set up .venv, then classify, train, evaluate, export, predict, infer and compare. The first call takes
# some minutes, because it installs packages. Flags: see tools/quickstart.py --help.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv" "$python" requirements.txt
exec "$ROOT/.venv/bin/python" "$ROOT/tools/quickstart.py" "$@"
