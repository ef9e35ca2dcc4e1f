# shellcheck shell=bash
# Sourced by the TIPC scripts beside it, and by scripts of your own:
#   tipc COMMAND ARGUMENTS...   run a command of main.py in place of this script, in the repository's
#                               root and with the project's Python; signals reach it directly

TIPC_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=shell/_env.sh
source "$TIPC_DIR/../shell/_env.sh"

tipc() {
    local python
    python="$(project_python)" || exit
    "$python" -c 'import psutil' 2>/dev/null || die "$python does not find psutil: run bash shell/serving.sh setup"
    # The `python3` of a configuration is the project's own, unless another environment is active.
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python3" ]; then
        export PATH="$ROOT/.venv/bin:$PATH"
    fi
    cd "$ROOT" || exit
    TIPC_SCRIPT="$0" exec "$python" "$TIPC_DIR/main.py" "$@"
}
