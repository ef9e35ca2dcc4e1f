# shellcheck shell=bash
# Sourced by the TIPC scripts in this folder, and by your own scripts:
#   tipc COMMAND ARGUMENTS...   replace this script with a command of main.py, run in the repository's
#                               root with the project's Python; signals reach it directly

TIPC_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=shell/_env.sh
source "$TIPC_DIR/../shell/_env.sh"

tipc() {
    local python
    python="$(project_python)" || exit
    # `python3` in a configuration is the project's, unless another environment is active.
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python3" ]; then
        export PATH="$ROOT/.venv/bin:$PATH"
    fi
    cd "$ROOT" || exit
    TIPC_SCRIPT="$0" exec "$python" "$TIPC_DIR/main.py" "$@"
}
