#!/usr/bin/env bash
# Serve the exported model with Paddle Serving: bash shell/serving.sh setup|convert|start|stop|restart|status
#   setup    install the packages for serving into .venv
#   convert  convbert_infer -> deploy/serving_python/convbert_server (flags: tools/export_serving_model.py)
#   start    start in the background, return when ready (flags: deploy/serving_python/web_service.py)
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

SERVING=deploy/serving_python
SERVING_PYTHONS=(3.11 3.10 3.12)
# Imports everything that serving needs.
CHECK='from convbert.serving.pipeline import paddle_serving; paddle_serving.prepare()
import convbert.serving.pipeline.server, convbert.serving.process.service'

# Repeated when one of the requirement files changes.
setup() {
    local venv="$ROOT/.venv" python stamp
    python="$(find_python "${SERVING_PYTHONS[@]}")" # not in the "local" line, which would hide a failure
    if [ -x "$venv/bin/python" ] && ! (PYTHON="$venv/bin/python" find_python "${SERVING_PYTHONS[@]}") &>/dev/null; then
        die ".venv has $("$venv/bin/python" --version), serving needs CPython 3.10 to 3.12: remove .venv and run this again"
    fi
    make_venv "$venv" "$python" "$ROOT/requirements.txt"
    stamp="serving-$(cat "$ROOT"/*-serving*.txt | cksum | tr ' ' '-')"
    if venv_is_complete "$venv" "$stamp"; then return; fi
    install_serving "$venv/bin/python" "$stamp" || die "setting up for serving failed: see the lines above"
}

# A chain of &&, because errexit is off inside a function that is called with ||. The stamp is written
# last.
install_serving() {
    local pip=("$1" -m pip install --quiet --disable-pip-version-check)
    cd "$ROOT" &&
        "${pip[@]}" --requirement requirements-serving.txt --constraint constraints-serving.txt &&
        "${pip[@]}" --no-deps --requirement requirements-serving-no-deps.txt &&
        "$1" -c "$CHECK" &&
        echo "$2" >>.venv/.stamps
}

# Both default folders are beside the config; flags of the user come later and override them.
convert() {
    exec "$(project_python)" "$ROOT/tools/export_serving_model.py" --dirname "$ROOT/convbert_infer" \
        --serving_server "$ROOT/$SERVING/convbert_server" \
        --serving_client "$ROOT/$SERVING/convbert_client" "$@"
}

command="${1:-}"
shift || true
case "$command" in
    setup) setup ;;
    convert) convert "$@" ;;
    start | stop | restart | status) exec "$(project_python)" "$ROOT/$SERVING/control.py" "$command" "$@" ;;
    *) die "unknown command '$command': give setup, convert, start, stop, restart or status" ;;
esac
