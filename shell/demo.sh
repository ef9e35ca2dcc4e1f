#!/usr/bin/env bash
# Web demo of the bundled model, of --model_path DIR, --model_dir DIR or the service at --url URL.
# The first call sets up .venv-demo. Flags: see deploy/web_demo/app.py --help.
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

python="$(find_python "${PYTHONS[@]}")"
make_venv "$ROOT/.venv-demo" "$python" "$ROOT/requirements-demo.txt"
exec "$ROOT/.venv-demo/bin/python" "$ROOT/deploy/web_demo/app.py" "$@"
