#!/usr/bin/env bash
# Serve the exported model with Paddle Serving: bash shell/serving.sh setup|convert|start|stop|restart|status
#   setup    install the packages for serving into .venv
#   convert  convbert_infer -> deploy/serving_python/convbert_server (flags: tools/export_serving_model.py)
#            if convbert_infer is missing: the bundled model
#   start    start in the background, return when ready (flags: deploy/serving_python/web_service.py)
set -euo pipefail
# shellcheck source=shell/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

SERVING=deploy/serving_python
SERVING_PYTHONS=(3.11 3.10 3.12)
# Imports everything that serving needs.
CHECK='from convbert.serving import pipeline; pipeline.prepare()
import convbert.serving.pipeline.server, convbert.serving.process.service'

setup() {
    local venv="$ROOT/.venv" python
    python="$(find_python "${SERVING_PYTHONS[@]}")" # not in the "local" line, which would hide a failure
    if [ -x "$venv/bin/python" ] && ! (PYTHON="$venv/bin/python" find_python "${SERVING_PYTHONS[@]}") &>/dev/null; then
        die ".venv has $("$venv/bin/python" --version), but serving needs CPython 3.10 to 3.12: remove .venv and run this again"
    fi
    make_venv "$venv" "$python" requirements.txt requirements-serving.txt requirements-openvino.txt
    (cd "$ROOT" && exec "$venv/bin/python" -c "$CHECK") || die "serving cannot be imported: see the lines above"
}

# Both default folders are beside the config; the user's flags come later and override them.
convert() {
    local model=(--dirname "$ROOT/convbert_infer")
    [ -d "${model[1]}" ] || model=() # then the bundled model is used
    exec "$python" "$ROOT/tools/export_serving_model.py" "${model[@]}" \
        --serving_server "$ROOT/$SERVING/convbert_server" \
        --serving_client "$ROOT/$SERVING/convbert_client" "$@"
}

command="${1:-}"
shift || true
case "$command" in
    setup) setup ;;
    convert | start | stop | restart | status)
        python="$(project_python)"
        [ "$command" = convert ] || exec "$python" "$ROOT/$SERVING/control.py" "$command" "$@"
        convert "$@"
        ;;
    -h | --help) sed -n '2,/^set/s/^# //p' "$0" ;;
    *) die "unknown command '$command': give setup, convert, start, stop, restart or status" command-line ;;
esac
